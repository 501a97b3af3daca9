"""Breadth-first search through core x world, over plain integers.

Core and world are compiled as they are met: what can happen to each is a list of numbers. A state of the product is
`core << SHIFT | world`, and its successors are found by look-up alone, so that most of the time goes into one set of integers.

There are two kinds of transition: the core takes a fact that needs no world (speech, words, deadlines, the session's own), or the
world does something, which may tell the core a fact. The orders of the core are carried out in the world within the same
transition.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.model import invariants
from tests.model import world as outside
from tests.model.abstraction import NOW_MS, Core, Move, stimuli, timer_facts, unforced
from tests.model.world import Violation, World
from voicefsm.context import State
from voicefsm.effects import Effect
from voicefsm.events import Fact

SHIFT = 24
MASK = (1 << SHIFT) - 1
BEYOND = -1
"""Instead of a world: one that the bounds of the model leave out."""


class Broken(Exception):
    """A violation, the state before it and the name of what happened."""

    def __init__(self, why: str, state: int, what: str, name: str) -> None:
        super().__init__(why)
        self.why, self.state, self.what, self.name = why, state, what, name


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One transition of a path: what the world did, and the name of the fact that the core was told."""

    what: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a search found."""

    name: str
    states: int
    transitions: int
    cores: int
    worlds: int
    seconds: float
    is_exhausted: bool
    violation: str = ""
    path: tuple[Step, ...] = ()

    def __str__(self) -> str:
        rate = self.transitions / max(self.seconds, 1e-9) / 1e6
        around = f" ({self.cores:,} of the core, {self.worlds:,} of the world)" if self.worlds else ""
        return (
            f"{self.name}: {self.states:,} distinct states{around}, {self.transitions:,} transitions in {self.seconds:.1f} s"
            f" ({rate:.2f} M/s), exhausted: {'yes' if self.is_exhausted else 'no'}"
        ) + (f"; VIOLATED: {self.violation}" if self.violation else "; every invariant holds")


Ordered = tuple[int, int]
"""A shifted core and the number of its orders."""


class Product:
    """Core and world as tables of integers."""

    def __init__(self, core: Core, *, is_faulty: bool) -> None:
        self.core, self.is_faulty = core, is_faulty
        self.worlds: list[World] = []
        self._numbers: dict[World, int] = {}
        self._orders: list[tuple[Effect, ...]] = [()]
        self._order_numbers: dict[tuple[Effect, ...], int] = {(): 0}
        self._obeyed: dict[Ordered, int] = {}
        self._told: dict[tuple[int, str], Ordered] = {}
        self._classes: dict[int, int] = {}
        self._class_numbers: dict[object, int] = {}
        self.free: dict[int, tuple[list[int], list[Ordered]]] = {}
        self.doings: dict[int, tuple[list[int], list[tuple[str, int]]]] = {}
        self.initial = core.initial << SHIFT | self._number(outside.initial())

    def _number(self, world: World) -> int:
        number = self._numbers.setdefault(world, len(self.worlds))
        if number == len(self.worlds):
            self.worlds.append(world)
        return number

    # --- compiling -----------------------------------------------------------------------------------------------------------

    def compile_free(self, core: int) -> tuple[list[int], list[Ordered]]:
        """What can happen to the core by itself: without orders for the world, and with."""
        moves = self.core.moves(core, unforced(self.core.context(core), NOW_MS, self.core.speech)).values()
        ordered = {self._ordered(move.after, move.effects) for move in moves}
        made = ([after for after, orders in ordered if not orders], [pair for pair in ordered if pair[1]])
        self.free[core] = made
        return made

    def compile_doings(self, number: int) -> tuple[list[int], list[tuple[str, int]]]:
        """What the world can do: silently, and telling the core a fact."""
        doings = list(outside.happenings(self.worlds[number], is_faulty=self.is_faulty))
        silent = list({self._number(doing.world) for doing in doings if not doing.fact} - {number})
        told = list({(doing.fact, self._number(doing.world)) for doing in doings if doing.fact})
        self.doings[number] = (silent, told)
        return silent, told

    def _ordered(self, after: int, effects: Sequence[Effect]) -> Ordered:
        orders = outside.carried(effects)
        number = self._order_numbers.setdefault(orders, len(self._orders))
        if number == len(self._orders):
            self._orders.append(orders)
        return after << SHIFT, number

    def tell(self, core: int, name: str) -> Ordered:
        """What the core does with a fact from the world."""
        told = self._told.get((core, name))
        if told is None:
            move = self.core.move(core, name)
            told = self._told[core, name] = self._ordered(move.after, move.effects)
        return told

    def obey(self, world: int, orders: int) -> int:
        """The world after orders; `BEYOND` if there is none."""
        after = self._obeyed.get((world, orders))
        if after is None:
            obeyed = outside.obey(self.worlds[world], self._orders[orders])
            after = self._obeyed[world, orders] = BEYOND if obeyed is None else self._number(obeyed)
        return after

    def class_of(self, core: int) -> int:
        """Cores are alike to the invariants of the product when they have the same class."""
        known = self._classes.get(core)
        if known is None:
            frozen = invariants.class_of(self.core.contexts[core])
            known = self._classes[core] = self._class_numbers.setdefault(frozen, core << SHIFT)
        return known

    # --- searching -----------------------------------------------------------------------------------------------------------

    def expand(self, frontier: Sequence[int], found: set[int]) -> int:
        """Add the successors of a whole level. Returns the number of transitions."""
        free, doings, obeyed, told = self.free, self.doings, self._obeyed, self._told
        count = 0
        for state in frontier:
            core, world = state >> SHIFT, state & MASK
            shifted = state - world
            plain, ordered = free.get(core) or self.compile_free(core)
            silent, telling = doings.get(world) or self.compile_doings(world)
            count += len(plain) + len(ordered) + len(silent) + len(telling)
            found.update([after | world for after in plain])
            found.update([shifted | after for after in silent])
            for after, orders in ordered:
                last = obeyed.get((world, orders))
                if last is None:
                    last = self.obey(world, orders)
                if last >= 0:
                    found.add(after | last)
            for name, then in telling:
                after, orders = told.get((core, name)) or self.tell(core, name)
                last = self.obey(then, orders) if orders else then
                if last >= 0:
                    found.add(after | last)
        return count

    def check(self, states: set[int], checked: set[int]) -> None:
        """The invariants of the product, once per pair of a class of cores and a world."""
        classes = self._classes
        for state in states:
            core, world = state >> SHIFT, state & MASK
            pair = (classes.get(core) or self.class_of(core)) | world
            if pair not in checked:
                checked.add(pair)
                try:
                    invariants.check_pair(self.core.contexts[core], self.worlds[world], is_faulty=self.is_faulty)
                except Violation as error:
                    raise Broken(str(error), state, "", "") from error

    # --- telling what happened -----------------------------------------------------------------------------------------------

    def successors(self, state: int) -> Iterator[tuple[Step, int]]:
        """Every transition from a state, with its name. Slow; for paths.

        Raises:
            Broken: the transition in which an invariant does not hold.

        """
        core, world = state >> SHIFT, state & MASK
        for name, fact in unforced(self.core.context(core), NOW_MS, self.core.speech).items():
            yield from self._successor(state, "", name, functools.partial(self._moved, core, name, fact), world)
        try:
            doings = list(outside.happenings(self.worlds[world], is_faulty=self.is_faulty))
        except Violation as error:
            raise Broken(str(error), state, "the world goes on", "") from error
        for doing in doings:
            then = self._number(doing.world)
            if doing.fact:
                yield from self._successor(state, doing.what, doing.fact, functools.partial(self.core.move, core, doing.fact), then)
            else:
                yield Step(doing.what, ""), (core << SHIFT) | then

    def _moved(self, core: int, name: str, fact: Fact) -> Move:
        return self.core.moves(core, {name: fact})[name]

    def _successor(self, state: int, what: str, name: str, move: Callable[[], Move], world: int) -> Iterator[tuple[Step, int]]:
        try:
            moved = move()
            after, orders = self._ordered(moved.after, moved.effects)
            last = self.obey(world, orders) if orders else world
        except Violation as error:
            raise Broken(str(error), state, what, name) from error
        if last >= 0:
            yield Step(what, name), after | last


def search(name: str, core: Core, *, is_faulty: bool, levels_max: int = 10_000) -> Report:
    """Look at everything that can be reached, nearest first."""
    began = time.process_time()
    product = Product(core, is_faulty=is_faulty)
    levels, seen, checked = [{product.initial}], {product.initial}, set[int]()
    transitions, violation = 0, ""
    path: tuple[Step, ...] = ()
    try:
        while levels[-1] and len(levels) <= levels_max:
            found: set[int] = set()
            try:
                transitions += product.expand(list(levels[-1]), found)
            except Violation:
                _find_broken(product, levels[-1])
                raise
            levels.append(found - seen)
            seen |= levels[-1]
            product.check(levels[-1], checked)
    except Broken as broken:
        violation, path = broken.why, _path(product, levels, broken)
    seconds = time.process_time() - began
    worlds = len(product.worlds)
    return Report(name, len(seen), transitions, len(core.contexts), worlds, seconds, not levels[-1], violation, path)


def _find_broken(product: Product, level: set[int]) -> None:
    """Raise `Broken` for a transition of this level that violates something."""
    for state in level:
        try:
            product.expand([state], set())
        except Violation:
            for _ in product.successors(state):
                pass


def _path(product: Product, levels: Sequence[set[int]], broken: Broken) -> tuple[Step, ...]:
    """The shortest way to a violation: level by level, backwards."""
    steps = [Step(broken.what, broken.name)] if broken.what or broken.name else []
    state = broken.state
    place = next(place for place, level in enumerate(levels) if state in level)
    for level in reversed(levels[:place]):
        before = next(before for before in level if _leads_to(product, before, state))
        steps.append(next(step for step, after in product.successors(before) if after == state))
        state = before
    return tuple(reversed(steps))


def _leads_to(product: Product, before: int, state: int) -> bool:
    found: set[int] = set()
    with contextlib.suppress(Violation):
        product.expand([before], found)
    return state in found


# --- the core alone ----------------------------------------------------------------------------------------------------------


def search_core(name: str, core: Core) -> Report:
    """Everything that can happen to the core, in any order, however unlikely: every world there could be."""
    began = time.process_time()
    parents: dict[int, tuple[int, Step]] = {}
    number = transitions = 0
    violation = ""
    path: tuple[Step, ...] = ()
    try:
        while number < len(core.contexts):
            facts = stimuli(core.context(number), NOW_MS, core.speech)
            for fact_name in facts:
                met = len(core.contexts)
                try:
                    after = core.moves(number, {fact_name: facts[fact_name]})[fact_name].after
                except Violation as error:
                    raise Broken(str(error), number, "", fact_name) from error
                if after == met:
                    parents[after] = (number, Step("", fact_name))
            transitions += len(facts)
            number += 1
    except Broken as broken:
        violation, path = broken.why, (*path_to(broken.state, parents), Step("", broken.name))
    seconds = time.process_time() - began
    return Report(name, len(core.contexts), transitions, 0, 0, seconds, not violation, violation, path)


def path_to(number: int, parents: Mapping[int, tuple[int, Step]]) -> tuple[Step, ...]:
    """The way from the beginning."""
    steps: list[Step] = []
    while number in parents:
        number, step = parents[number]
        steps.append(step)
    return tuple(reversed(steps))


def deadlines_to_the_end(core: Core) -> int:
    """The most deadlines that pass one after the other until a session that is left alone is over, its longest duration apart.

    Raises:
        Violation: some never end.

    """
    lengths: dict[int, int] = {}
    for number in range(len(core.contexts)):
        _measure(core, number, lengths, ())
    return max(lengths.values())


def _measure(core: Core, number: int, lengths: dict[int, int], above: tuple[int, ...]) -> int:
    if number in above:
        raise Violation(f"deadlines go round for ever, from {core.contexts[number]}")
    if number not in lengths:
        facts = timer_facts(core.context(number), NOW_MS)
        passing = [name for name in facts if name not in ("Timer AGE", "Timer REOPEN")]
        if not passing and core.contexts[number][0] is not State.CLOSED:
            raise Violation(f"no deadline ends {core.contexts[number]}")
        afters = [core.moves(number, facts)[name].after for name in passing]
        lengths[number] = max((1 + _measure(core, after, lengths, (*above, number)) for after in afters), default=0)
    return lengths[number]
