"""Mutants of the core: its sources, each with one small fault.

Theory of operation. A source is parsed, every node is offered to every operator, and an operator that has something to say about it
yields the node's replacement. One replacement is one mutant. Half of the core is tables, so that half of the operators are about
tables: a row is dropped, or a question, or a verb, or the state a row goes to. A mutant is named by its file, the function or table
it is in, and what was changed, so that its name survives when lines move.

Texts are left alone (docstrings, `because`, messages), and annotations, which nothing evaluates.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "voicefsm/states").glob("*.py") if path.name != "__init__.py")
FILES = (*SOURCES, "voicefsm/machine.py", "voicefsm/bargein.py", "voicefsm/lexicon.py")
"""What is mutated."""

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
_SWAPPED = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One faulty source."""

    file: str
    """From the root of the repository."""
    name: str
    line: int
    source: str

    @property
    def module(self) -> str:
        """As it is imported."""
        return self.file.removesuffix(".py").replace("/", ".")


def mutants_of(file: str) -> Iterator[Mutant]:
    """Every mutant of one source, in the order of its lines."""
    text = (ROOT / file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    statements = [ast.unparse(statement) for statement in tree.body]
    seen: Counter[str] = Counter()
    for path, node in _walk(tree, ()):
        for what, change in _changes(node, path[-1][1] if path else ""):
            place, mutated = _with(tree, path, change)
            if mutated == statements[place]:
                continue
            name = f"{file.removeprefix('voicefsm/')} {_owner(tree, path)}: {what}"
            seen[name] += 1
            if seen[name] > 1:
                name = f"{name} ({seen[name]})"
            source = "\n".join((*statements[:place], mutated, *statements[place + 1 :]))
            yield Mutant(file, name, getattr(node, "lineno", 0), source)


# --- the tree ----------------------------------------------------------------------------------------------------------------

Path_ = tuple[tuple[ast.AST, str, int | None], ...]
"""From the module down: (parent, field, place in the field's list)."""

_SKIPPED = {"annotation", "returns", "decorator_list", "because", "bases", "type_params"}


def _walk(node: ast.AST, path: Path_) -> Iterator[tuple[Path_, ast.AST]]:
    """Every node that is evaluated when the module runs, with the way to it."""
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED or (isinstance(node, ast.keyword) and node.arg == "because"):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_text(child) and not isinstance(child, ast.Import | ast.ImportFrom):
                way = (*path, (node, field, place))
                yield way, child
                yield from _walk(child, way)


def _is_text(node: ast.AST) -> bool:
    """A docstring, or a string under a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_target(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


def _is_word(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _owner(tree: ast.Module, path: Path_) -> str:
    """The function, class or table it is in."""
    names = []
    for parent, field, place in path:
        if place is None or field != "body":
            continue
        child = getattr(parent, field)[place]
        match child:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if parent is tree:
                names.append(name)
    return ".".join(names) or "module"


def _with(tree: ast.Module, path: Path_, change: Callable[[ast.AST], ast.AST | None]) -> tuple[int, str]:
    """(place, source) of the module's statement that changes: one node is replaced, or dropped where the change is None."""
    changed = path[0][2]
    assert changed is not None, "a module is a list of statements"
    clone = ast.Module([copy.deepcopy(tree.body[changed])], [])
    way = ((clone, "body", 0), *path[1:])
    parent: ast.AST = clone
    for _, field, place in way[:-1]:
        value = getattr(parent, field)
        parent = value if place is None else value[place]
    _, field, place = way[-1]
    value = getattr(parent, field)
    new = change(value if place is None else value[place])
    if place is None:
        setattr(parent, field, new)
    elif new is None:
        del value[place]
    else:
        value[place] = new
    return changed, ast.unparse(ast.fix_missing_locations(clone))


# --- the operators -----------------------------------------------------------------------------------------------------------

Change = tuple[str, Callable[[ast.AST], "ast.AST | None"]]


def _changes(node: ast.AST, field: str) -> Iterator[Change]:  # noqa: C901 (one line per operator)
    """What may go wrong at this node."""
    if isinstance(node, ast.Expr | ast.Assign | ast.AugAssign) and field == "body":
        yield from _drop_statement(node)
    if (
        field == "elts"
        and isinstance(node, ast.expr)
        and not isinstance(getattr(node, "ctx", None), ast.Store)
        and not _is_word(node)
    ):
        yield f"without {_short(node)}", lambda _: None
    match node:
        case ast.Call(func=ast.Name(id="Row" | "stays")):
            yield from _row(node)
        case ast.Compare(ops=[op]) if type(op) in _COMPARED:
            yield f"{_short(node)} with {_COMPARED[type(op)].__name__}", _compare
        case ast.BinOp(op=op) if type(op) in _COMPUTED:
            yield f"{_short(node)} with {_COMPUTED[type(op)].__name__}", _compute
        case ast.BoolOp():
            yield f"{_short(node)} with {'or' if isinstance(node.op, ast.And) else 'and'}", _other_bool
        case ast.UnaryOp(op=ast.Not()):
            yield f"{_short(node)} without not", lambda one: one.operand  # type: ignore[attr-defined]
        case ast.Constant(value=bool() as value):
            yield f"{not value} for {value}", lambda one: ast.Constant(not one.value)  # type: ignore[attr-defined]
        case ast.Constant(value=int() as value):
            yield f"{value + 1} for {value}", lambda one: ast.Constant(one.value + 1)  # type: ignore[attr-defined]
        case ast.Call(func=ast.Name(id=name)) if name in _SWAPPED:
            yield f"{_SWAPPED[name]} for {_short(node)}", _other_function
        case ast.If() | ast.While() | ast.IfExp():
            yield f"not {_short(node.test)}", _other_way
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield f"returns nothing instead of {_short(value)}", lambda _: ast.Return(ast.Constant(None))


def _drop_statement(node: ast.stmt) -> Iterator[Change]:
    yield f"without {_short(node)}", lambda _: ast.Pass()


def _row(node: ast.Call) -> Iterator[Change]:
    """A row that goes nowhere or elsewhere."""
    for place, keyword in enumerate(node.keywords):
        if keyword.arg == "to":
            yield f"{_short(node)} stays", _without_keyword(place)
            other = "CLOSED" if not ast.unparse(keyword.value).endswith("CLOSED") else "IDLE"
            yield f"{_short(node)} goes to {other}", _to(place, other)


def _without_keyword(place: int) -> Callable[[ast.AST], ast.AST]:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Call)
        del node.keywords[place]
        return node

    return change


def _to(place: int, state: str) -> Callable[[ast.AST], ast.AST]:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Call)
        node.keywords[place].value = ast.parse(f"State.{state}", mode="eval").body
        return node

    return change


def _compare(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.Compare)
    node.ops = [_COMPARED[type(node.ops[0])]()]
    return node


def _compute(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BinOp)
    node.op = _COMPUTED[type(node.op)]()
    return node


def _other_bool(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BoolOp)
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return node


def _other_function(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    node.func.id = _SWAPPED[node.func.id]
    return node


def _other_way(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.If | ast.While | ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return node


def _short(node: ast.AST) -> str:
    """What it says, on one line."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:87]}..."
