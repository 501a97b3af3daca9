"""What a session may hold: every part is filled to its bound, by what fills it, and measured."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pytest

from voicefsm import footprint
from voicefsm.adapters.memory_store import MemoryStore
from voicefsm.adapters.nim import ARGUMENTS_CHARS_MAX, EventParser, WantedCalls
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognitionStream
from voicefsm.audio.ring import Ring
from voicefsm.audio.samples import SAMPLES_PER_MS
from voicefsm.config import Settings, footprint_of, load
from voicefsm.context import State
from voicefsm.errors import BackendError, SettingsError, TooMuch
from voicefsm.events import Fact, FinalHeard, SentenceReady, TextReceived, ToolAnswered, ToolCall, Word
from voicefsm.ports import GenerationRequest, Message, SpokenAudio
from voicefsm.runtime.history import History
from voicefsm.runtime.inbox import Inbox
from voicefsm.runtime.messages import AudioOutput, Failure, Outbound, StateChanged
from voicefsm.runtime.outbox import Outbox
from voicefsm.runtime.playout import Playout
from voicefsm.runtime.reply import Voice, write
from voicefsm.runtime.timers import LoopClock
from voicefsm.runtime.unfinalised import Piece, Unfinalised
from voicefsm.server.codec import FRAME_MS_MIN
from voicefsm.server.pace import of_client, of_late_texts
from voicefsm.simulation.fakes import FakeLanguageModel
from voicefsm.simulation.stage import Stage, plan_with
from voicefsm.values import Epoch, SampleIndex

SETTINGS = Settings()
OF = footprint_of(SETTINGS)
PARTS = {part.what: part for part in footprint.parts(OF)}
WIDE = "😀"
"""A character that takes four bytes, and makes all others of its text take as much."""
SLACK_BYTES = 32_000
"""The objects themselves, which `BASE_BYTES` counts, and what measures."""
Fill: TypeAlias = "Callable[[list[Any]], Awaitable[None]]"
"""Fills something, and puts it into the list."""
SHORT = bytes(FRAME_MS_MIN * SAMPLES_PER_MS * 2)


def text(chars: int) -> str:
    """A new one, as wide as can be."""
    return WIDE + "x" * (chars - 1)


def inbox(make: Callable[[], Fact]) -> Fill:
    async def fill(held: list[Any]) -> None:
        box = Inbox(SETTINGS.session.inbox_facts_max, SETTINGS.session.inbox_bytes_max)
        held.append(box)
        while not box._has_lost:
            box.put(make())

    return fill


def outbox(make: Callable[[], Outbound]) -> Fill:
    async def fill(held: list[Any]) -> None:
        box = Outbox(SETTINGS.session.outbox_messages_max, bytes_max=SETTINGS.session.outbox_bytes_max)
        held.append(box)
        with suppress(TooMuch):
            for _ in itertools.repeat(None):
                box.put(make())

    return fill


async def unfinalised(held: list[Any]) -> None:
    """All of it speech."""
    kept = Unfinalised(ms_max=SETTINGS.session.ears_backlog_ms_max, quiet_ms_max=SETTINGS.session.ears_quiet_ms)
    for nth in range(2 * SETTINGS.session.ears_backlog_ms_max // FRAME_MS_MIN):
        kept.add(Piece(nth * len(SHORT) // 2, bytes(bytearray(SHORT)), is_voiced=True), is_quiet=False)
    held.append(kept)


async def unsent(held: list[Any]) -> None:
    """A server that takes nothing."""

    class Dead:
        def cancel(self) -> None: ...

    class Channel:
        def silent(self, _what: str, _kind: object) -> BackendError:
            return BackendError(cast("Any", "asr"), "Silent.")

    stream = RivaRecognitionStream(cast("Any", Dead()), RivaAsrSettings(), cast("Any", Channel()))
    for _ in range(SETTINGS.asr.buffer_ms_max // FRAME_MS_MIN):
        stream.send(SHORT, at_once=True)
    held.append(stream)
    assert stream._failure is None
    more = RivaRecognitionStream(cast("Any", Dead()), RivaAsrSettings(), cast("Any", Channel()))
    more.send(bytes((SETTINGS.asr.buffer_ms_max + 1) * 32), at_once=True)
    assert more._failure is not None


async def reference(held: list[Any]) -> None:
    """For ever."""
    ring = Ring(SETTINGS.aec.reference_keep_ms * SAMPLES_PER_MS)
    for nth in range(1000):
        ring.append(nth * 1600, np.ones(1600, np.int16))
    held.append(ring)


async def playout(held: list[Any]) -> None:
    """As long as there is room."""
    waiting = Playout(48_000, SETTINGS.playout)
    waiting.begin(Epoch(1))
    while waiting.has_room():
        waiting.add(SpokenAudio(0, np.zeros(48 * 20, np.int16)))
    held.append(waiting)


async def model_event(held: list[Any]) -> None:
    """One that never ends."""
    parser = EventParser()
    held.append(parser)
    with suppress(ValueError):
        for _ in itertools.repeat(None):
            parser.feed(b"data: " + b"x" * 10_000)


def conversation() -> History:
    """Texts as long as they may be, and tools that put out as much as they may."""
    said, turns = SETTINGS.session, SETTINGS.turns
    history = History(text(said.prompt_chars_max), said.history_messages_max, said.history_chars_max)
    for _ in range(said.history_messages_max):
        history.add_user(text(turns.user_text_chars_max))
        history.add_heard(text(100))
    history.add_user(text(turns.user_text_chars_max))
    for nth in range(turns.tool_rounds_max):
        calls = tuple(ToolCall(f"{nth}{k}", "t", "{}") for k in range(32))
        history.add_calls("", calls)
        for call in calls:
            history.add_result(call.id, text(said.tool_output_chars_max))
    return history


async def history(held: list[Any]) -> None:
    held.append(conversation())


async def kept(held: list[Any]) -> None:
    held.append(conversation().said)


async def arguments(held: list[Any]) -> None:
    """Many calls with long arguments; those of each round are kept."""
    for _ in range(SETTINGS.turns.tool_rounds_max + 1):
        calls = WantedCalls()
        held.append(calls)
        for index in range(10):
            piece = {"index": index, "id": f"{index}", "function": {"name": "t", "arguments": text(ARGUMENTS_CHARS_MAX // 8)}}
            if not calls.take([piece]):
                break
        else:
            raise AssertionError("more than may be")
        calls._calls.pop()  # the piece itself is an event of the model


async def reply(held: list[Any]) -> None:
    """A model that writes for ever, and a voice that says nothing."""
    facts: list[Fact] = []
    endless = FakeLanguageModel([["Well, " + WIDE * 4 + " and so on. "] * 20_000], token_ms=0)
    ask = GenerationRequest((Message("user", "Go on."),), 0.5, 512)
    chars_max = SETTINGS.session.reply_chars_max
    await write(endless, lambda: ask, Epoch(1), now=lambda: 0, tell=facts.append, shorten=lambda: False, chars_max=chars_max)
    voice, waiting, written = Voice(), Playout(48_000, SETTINGS.playout), []
    waiting.begin(Epoch(1))
    for fact in facts:
        if isinstance(fact, SentenceReady):
            waiting.expect(fact.index, fact.text)
            voice.speak(fact.index, fact.text)
            written.append(fact.text)
    assert sum(map(len, written)) <= chars_max
    held += [voice, waiting, written, " ".join(written)]


async def typed(held: list[Any]) -> None:
    """Pasted all at once."""
    said, clock = SETTINGS.session, LoopClock()
    texts = of_client(clock, said, of_late_texts(clock)).texts
    held.append(texts)
    with suppress(TooMuch):
        for _ in itertools.repeat(None):
            texts.take(text(said.text_chars_max))


FILL: dict[str, tuple[Fill, ...]] = {
    "facts that wait for the machine": (
        inbox(lambda: TextReceived(1, text(SETTINGS.session.text_chars_max))),
        inbox(lambda: ToolAnswered(1, Epoch(1), "c", text(SETTINGS.session.tool_output_chars_max), "")),
        inbox(lambda: SentenceReady(1, Epoch(1), 1, text(3))),
        inbox(lambda: FinalHeard(1, text(100), tuple(Word(text(4), 0, 1) for _ in range(20)))),
    ),
    "messages that wait for the client": (
        outbox(lambda: AudioOutput(Epoch(1), SampleIndex(0), np.zeros(96 * 20, np.int16), last=False)),
        outbox(lambda: StateChanged(State.IDLE, State.LISTENING, text(3), 1)),
        outbox(lambda: Failure("", text(10_000), "", Epoch(0))),
    ),
    "audio that is not final": (unfinalised,),
    "audio that the recogniser did not take": (unsent,),
    "reference of the echo canceller": (reference,),
    "voice that waits for playout, 48 kHz": (playout,),
    "an event of the model": (model_event,),
    "conversation, prompt and declared tools": (history,),
    "the same as it is kept for resuming": (kept,),
    "arguments of tools in one answer": (arguments,),
    "typed texts that wait": (typed,),
    "an answer in progress: its text, sentences, and times of words": (reply,),
}
BY_GRPC = {"a message of the voice or the recogniser", "messages on the wire", "everything else, measured"}
"""Kept by gRPC's own limits, or measured."""


def test_every_part_is_filled() -> None:
    """Otherwise a bound is claimed that nobody has tried."""
    assert PARTS.keys() == FILL.keys() | BY_GRPC


@pytest.mark.parametrize(("what", "fill"), [(what, fill) for what, fills in FILL.items() for fill in fills])
def test_no_part_holds_more_than_is_said(what: str, fill: Fill) -> None:
    """Otherwise a hostile client takes more memory than the sum allows for, and the process is killed with everybody in it."""

    async def used() -> int:
        await asyncio.sleep(0)
        held: list[Any] = []
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        try:
            await fill(held)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()

    holds, bound = asyncio.run(used()), PARTS[what].bytes_max
    assert bound / 10 < holds <= bound + SLACK_BYTES, f"{holds} of {bound}"


async def test_longer_facts_than_the_inbox_holds_end_the_session() -> None:
    """Otherwise long texts take a hundred times what short ones may."""
    stage = Stage(plan_with(session={"inbox_bytes_max": 65_536}))

    def flood(session: Any) -> None:
        for _ in itertools.repeat(None, 2000):
            session.type_text(text(4000))

    with pytest.raises(TooMuch, match="65536 bytes"):
        await stage.play(script=[(100, flood)])
    assert not stage.remains()


async def test_what_is_kept_for_resuming_is_bounded() -> None:
    """Otherwise clients that break off after a long conversation fill the memory."""
    store = MemoryStore(LoopClock(), 1000, 10_000)
    for nth in range(100):
        await store.save(f"{nth}", 1, bytes(3000), keep_ms=1000)
    assert [await store.find(f"{nth}") is not None for nth in (0, 96, 97, 98, 99)] == [False, False, True, True, True]
    for nth in range(100):
        await store.save("99", 1, bytes(3000 + nth), keep_ms=1000)
        await store.forget("98", 1)
    assert await store.find("97")


def test_more_sessions_than_the_memory_holds_are_refused() -> None:
    """Otherwise an operator learns from the kernel, in the busiest hour, that the container is too small."""
    each = footprint.session_bytes(OF)
    needed = -(-footprint.gateway_bytes(OF) // footprint.MIB)
    assert load(overrides=[f"server.memory_mib_max={needed}"]).server.memory_mib_max == needed
    with pytest.raises(SettingsError, match=rf"may need {needed} \({each / footprint.MIB:.1f} each\): 99 fit, or lower"):
        load(overrides=[f"server.memory_mib_max={needed - 1}"])
    with pytest.raises(SettingsError, match=": 0 fit"):
        load(overrides=["server.memory_mib_max=1"])
    with suppress(SettingsError):
        load(overrides=["server.memory_mib_max=1000", "server.sessions_max=99"])


def test_other_processes_and_stores_count() -> None:
    """Otherwise what workers take by themselves is forgotten."""
    alone = footprint.gateway_bytes(OF)
    two = footprint_of(load(overrides=["server.workers=2"]))
    assert footprint.gateway_bytes(two) - alone == footprint.WORKER_BYTES + SETTINGS.resume.bytes_max
    elsewhere = footprint_of(load(overrides=["resume.redis_url=redis://127.0.0.1"]))
    assert alone - footprint.gateway_bytes(elsewhere) == SETTINGS.resume.bytes_max


def test_the_page_adds_up() -> None:
    """Otherwise the documentation says another sum."""
    page = (Path(__file__).resolve().parents[2] / "docs/operations/memory.md").read_text(encoding="utf-8")
    assert f"**{footprint.session_bytes(OF) / footprint.MIB:.1f}**" in page
