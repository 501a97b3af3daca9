"""Where code can be cancelled: the await points in a source, those at which a task stands, and a hand that cancels there.

Theory of operation. `points_of` reads a source with `ast` and lists every place at which it may wait: an `await`, the next item of
an `async for`, the entry and the exit of an `async with`. A `Watch` is a task factory: each task's coroutine gets a thin wrapper,
which looks at the coroutine every time it has come to rest. From there the chain of what waits for what leads down to the future,
through coroutines and asynchronous generators; its frames in the watched sources are the points at which the task can be cancelled
in that moment. Such a chain is a *place*; the same `await` reached in two ways is two places. A watch can be told to cancel once,
at the first visit to a place: the task that stands there, or another one.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import dis
import functools
import gc
import types
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import voicefsm

ROOT = Path(voicefsm.__file__).parent
NEVER_WAIT = ("enter asyncio.timeout", "exit asyncio.timeout", "enter asyncio.TaskGroup(", "enter aclosing(")
"""What the standard library enters and leaves without waiting for anybody: nobody can be cancelled there."""
CHAIN_MAX = 100
"""Deepest chain of awaits that is followed."""


@dataclasses.dataclass(frozen=True, order=True)
class Point:
    """One place in a source at which it may wait."""

    file: str
    """Relative to the package."""
    line: int
    column: int
    function: str
    """Around it."""
    kind: str
    """`await`, `next`, `enter` or `exit`."""
    text: str
    """What is awaited, iterated or entered."""

    @property
    def name(self) -> str:
        """What it is called, wherever it has moved to."""
        return f"{self.file} {self.function}: {self.kind} {self.text}"

    @property
    def never_waits(self) -> bool:
        """Whether the standard library promises that nobody is kept waiting here."""
        return f"{self.kind} {self.text}".startswith(NEVER_WAIT)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind} {self.text}"


Place = tuple[Point, ...]
"""Where a task stands: the points it waits at, outermost first."""


def describe(place: Place) -> str:
    """For the message of a test."""
    return " > ".join(map(str, place))


# --- in the source -----------------------------------------------------------------------------------------------------------


@functools.cache
def points_of(file: str) -> frozenset[Point]:
    """Every await point of a source, by its path in the package."""
    return frozenset(point for _, _, point in _spans(file))


def sources(*places: str) -> list[str]:
    """The sources below these directories or files of the package, relative to it."""
    found = [
        path for place in places for path in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("*.py")))
    ]
    return [path.relative_to(ROOT).as_posix() for path in found]


@functools.cache
def _spans(file: str) -> tuple[tuple[range, str, Point], ...]:
    """(lines of the statement's head, kind, point) of each point."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]  # outer ones first
    owner = {node: function.name for function in functions for node in ast.walk(function)}
    spans: list[tuple[range, str, Point]] = []
    for node, function in owner.items():
        for kind, begins, what in _waits(node):
            head = range(begins.lineno, (what.end_lineno or begins.lineno) + 1)
            spans.append((head, kind, Point(file, begins.lineno, begins.col_offset, function, kind, ast.unparse(what))))
    return tuple(spans)


def _waits(node: ast.AST) -> Iterator[tuple[str, ast.expr | ast.stmt, ast.expr]]:
    """(kind, where it begins, what is waited for) of each wait of one node."""
    match node:
        case ast.Await():
            yield "await", node, node.value
        case ast.AsyncFor():
            yield "next", node, node.iter
        case ast.AsyncWith(items=[item]):
            yield "enter", node, item.context_expr
            yield "exit", node, item.context_expr
        case ast.AsyncWith():
            raise AssertionError(
                f"line {node.lineno}: write one `async with` for each manager, so that their waits can be told apart"
            )
        case ast.comprehension(is_async=1):
            raise AssertionError(f"line {node.iter.lineno}: write an `async for` of its own, so that its wait can be told apart")


# --- in a running task -------------------------------------------------------------------------------------------------------

_KINDS = {0: "await", 1: "enter", 2: "exit"}
"""By the argument of GET_AWAITABLE."""


@functools.cache
def _waits_of(code: types.CodeType) -> tuple[tuple[int, str, int, int], ...]:
    """(offset, kind, line, column) of the instructions that begin a wait."""
    found = []
    for step in dis.get_instructions(code):
        if step.opname in {"GET_AWAITABLE", "GET_ANEXT"} and step.positions is not None:
            kind = "next" if step.opname == "GET_ANEXT" else _KINDS[step.arg or 0]
            found.append((step.offset, kind, step.positions.lineno or 0, step.positions.col_offset or 0))
    return tuple(found)


def point_at(frame: types.FrameType) -> Point | None:
    """The point at which a suspended frame waits; None outside the package."""
    return _point_in(frame.f_code, frame.f_lasti)


@functools.cache
def _point_in(code: types.CodeType, offset: int) -> Point | None:
    file = Path(code.co_filename)
    if not file.is_relative_to(ROOT):
        return None
    _, kind, line, column = [wait for wait in _waits_of(code) if wait[0] <= offset][-1]
    fitting = [
        (len(lines), point)
        for lines, its_kind, point in _spans(file.relative_to(ROOT).as_posix())
        if its_kind == kind and line in lines and (kind != "await" or (point.line, point.column) == (line, column))
    ]
    return min(fitting)[1]


def place_of(coroutine: Any) -> Place:
    """Where a suspended coroutine stands."""
    points: list[Point] = []
    one = coroutine
    for _ in range(CHAIN_MAX):
        if one is None:
            return tuple(points)
        frame = next((frame for name in ("cr_frame", "ag_frame", "gi_frame") if (frame := getattr(one, name, None))), None)
        if frame is not None and (point := point_at(frame)) is not None:
            points.append(point)
        one = _awaited_by(one)
    raise AssertionError("the chain of awaits has no end")


def _awaited_by(one: Any) -> Any:
    """What a coroutine, a generator, or what stands between the two waits for."""
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        if hasattr(one, name):
            return getattr(one, name)
    # `anext(generator)`, `generator.aclose()` and their like do not say whose they are; the garbage collector knows.
    if type(one).__name__ in {"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"}:
        return next(filter(_may_wait, gc.get_referents(one)), None)
    return None


def _may_wait(one: object) -> bool:
    return isinstance(one, types.AsyncGeneratorType | types.CoroutineType) or type(one).__name__.startswith("async_generator_a")


# --- the watch ---------------------------------------------------------------------------------------------------------------


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine that is looked at whenever it comes to rest."""

    def __init__(self, inner: Coroutine[Any, Any, Any], look: Callable[[Any], None]) -> None:
        self._inner, self._look = inner, look

    def send(self, value: Any) -> Any:
        future = self._inner.send(value)
        self._look(self._inner)
        return future

    def throw(self, *error: Any) -> Any:
        try:
            future = self._inner.throw(*error)
        finally:
            del error  # it holds this frame
        self._look(self._inner)
        return future

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        raise NotImplementedError("a task runs it, nobody awaits it")


class Watch:
    """Sees where the tasks of a loop come to rest; cancels once, if told where."""

    def __init__(
        self, cancel_at: Place | None = None, *, whom: Callable[[], asyncio.Task[Any] | None] = asyncio.current_task
    ) -> None:
        """`whom` is asked when a task first stands at `cancel_at`; by default it is that task."""
        self.places: dict[Place, int] = {}
        """How often a task stood there, in the order of the first visits."""
        self.whom: Callable[[], asyncio.Task[Any] | None] = asyncio.current_task
        """Asked when a task first stands where it is cancelled; by default it is that task."""
        self.has_cancelled = False
        self._cancel_at = cancel_at

    def __enter__(self) -> Self:
        asyncio.get_running_loop().set_task_factory(self._make_task)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().set_task_factory(None)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Watched(coroutine, self._look), loop=loop, **more)

    def _look(self, coroutine: Any) -> None:
        place = place_of(coroutine)
        if not place:
            return
        self.places[place] = self.places.get(place, 0) + 1
        if place == self._cancel_at and not self.has_cancelled and (task := self.whom()) is not None:
            self.has_cancelled = True
            task.cancel()


# --- the account -------------------------------------------------------------------------------------------------------------


def within(places: Iterable[Place], files: Iterable[str]) -> list[Place]:
    """Those of the places that have to do with these sources."""
    kept = frozenset(files)
    return [place for place in places if any(point.file in kept for point in place)]


def assert_all_were_visited(files: Iterable[str], places: Iterable[Place], excused: Mapping[str, str]) -> None:
    """Every point of these sources was visited, or is excused; and no excuse is out of date.

    `excused` maps the name of a point to the reason why nobody can be cancelled there.
    """
    visited = {point for place in places for point in place}
    points = [point for file in files for point in points_of(file)]
    forgotten = [str(point) for point in points if not (point in visited or point.never_waits or point.name in excused)]
    assert not forgotten, f"never waited at: {forgotten}"
    outdated = set(excused) - {point.name for point in points}
    assert not outdated, f"excused, and not there: {outdated}"
