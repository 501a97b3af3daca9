"""The most memory that a session may hold, and a gateway with all of them: a sum of bounds, each of which is kept somewhere.

Theory of operation. Whatever a session keeps lies in one of the parts below. Each part has a bound that follows from settings and
is kept by the code that fills it; `tests/unit/test_footprint.py` fills each to its bound and measures it. Sessions seldom come
near: an ordinary one holds `BASE_BYTES`.

Of what backends answer one message counts as it comes (`riva.message_bytes_max`); what is kept of it is bounded like all else.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from voicefsm.adapters.nim import ARGUMENTS_CHARS_MAX, EVENT_BYTES_MAX
from voicefsm.audio.samples import RATES_HZ, SAMPLES_PER_MS
from voicefsm.runtime.history import CHARS_PATIENCE
from voicefsm.runtime.weight import CHAR_BYTES, ITEM_BYTES, WORD_BYTES
from voicefsm.server.admission import WINDOW_BYTES
from voicefsm.server.codec import FRAME_MS_MIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from voicefsm.adapters.channels import RivaChannelSettings
    from voicefsm.adapters.riva_asr import RivaAsrSettings
    from voicefsm.aec.settings import AecSettings
    from voicefsm.context import TurnSettings
    from voicefsm.runtime.keeper import ResumeSettings
    from voicefsm.runtime.plan import SessionSettings
    from voicefsm.runtime.playout import PlayoutSettings
    from voicefsm.server.admission import ServerSettings

MIB = 1 << 20
BASE_BYTES = 2 * MIB
"""What a session takes that holds nothing else: its canceller, detector and resamplers, its tasks, the gRPC calls to its client and
its backends. Measured (docs/performance.md) and rounded up."""
WORKER_BYTES = 160 * MIB
"""What a worker takes without a session, and what its allocator keeps. Measured (docs/operations/abuse.md) and rounded up."""
_BYTES_PER_MS = 2 * SAMPLES_PER_MS
"""Of 16 kHz audio."""
_WORD_CHARS_MIN = 2
"""Of a word in a text, with the space after it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Something that a session keeps."""

    what: str
    bound: str
    """The settings, and constants, that it follows from."""
    bytes_max: int


@dataclasses.dataclass(frozen=True, slots=True)
class Sections:
    """The settings that bound it."""

    session: SessionSettings
    turns: TurnSettings
    aec: AecSettings
    playout: PlayoutSettings
    riva: RivaChannelSettings
    asr: RivaAsrSettings
    server: ServerSettings
    resume: ResumeSettings


def audio_bytes(ms: int) -> int:
    """Of so much 16 kHz audio, in the shortest pieces that a client may send."""
    return ms * _BYTES_PER_MS + ms // FRAME_MS_MIN * ITEM_BYTES


def conversation_bytes(said: SessionSettings, turns: TurnSettings) -> int:
    """Of what was said, with what the client declared."""
    chars = CHARS_PATIENCE * said.history_chars_max + turns.user_text_chars_max + said.prompt_chars_max + said.tools_chars_max
    return chars * CHAR_BYTES + (said.history_messages_max + said.tools_max) * ITEM_BYTES


def parts(of: Sections) -> tuple[Part, ...]:
    """All that a session keeps."""
    said, turns = of.session, of.turns
    conversation = conversation_bytes(said, turns)
    waiting_ms = of.playout.synthesis_ahead_ms_max
    rounds = turns.tool_rounds_max + 1
    rate_ms = max(RATES_HZ) // 1000 * 2
    reply_words = said.reply_chars_max // _WORD_CHARS_MIN * WORD_BYTES
    return (
        Part("facts that wait for the machine", "session.inbox_bytes_max", said.inbox_bytes_max),
        Part("messages that wait for the client", "session.outbox_bytes_max", said.outbox_bytes_max),
        Part("audio that is not final", "session.ears_backlog_ms_max", audio_bytes(said.ears_backlog_ms_max)),
        Part("audio that the recogniser did not take", "asr.buffer_ms_max", audio_bytes(of.asr.buffer_ms_max)),
        Part("reference of the echo canceller", "aec.reference_keep_ms", of.aec.reference_keep_ms * _BYTES_PER_MS),
        Part(
            "voice that waits for playout, 48 kHz",
            "playout.synthesis_ahead_ms_max",
            waiting_ms * rate_ms + waiting_ms // FRAME_MS_MIN * ITEM_BYTES,
        ),
        Part("a message of the voice or the recogniser", "riva.message_bytes_max", of.riva.message_bytes_max),
        Part("an event of the model", "EVENT_BYTES_MAX", EVENT_BYTES_MAX),
        Part(
            "conversation, prompt and declared tools",
            "session.history_chars_max, prompt_chars_max, tools_chars_max, turns.user_text_chars_max",
            conversation,
        ),
        Part("the same as it is kept for resuming", "the same", conversation),
        Part(
            "arguments of tools in one answer",
            "ARGUMENTS_CHARS_MAX, turns.tool_rounds_max",
            rounds * ARGUMENTS_CHARS_MAX * CHAR_BYTES,
        ),
        Part(
            "an answer in progress: its text, sentences, and times of words",
            "session.reply_chars_max",
            said.reply_chars_max * CHAR_BYTES * 3 + reply_words,
        ),
        Part(
            "typed texts that wait",
            "session.texts_waiting_max, text_chars_max",
            said.texts_waiting_max * (said.text_chars_max * CHAR_BYTES + ITEM_BYTES),
        ),
        Part("messages on the wire", "server.message_bytes_max, WINDOW_BYTES", 2 * (of.server.message_bytes_max + WINDOW_BYTES)),
        Part("everything else, measured", "BASE_BYTES", BASE_BYTES),
    )


def session_bytes(of: Sections) -> int:
    """The most that a session may hold."""
    return sum(part.bytes_max for part in parts(of))


def gateway_bytes(of: Sections) -> int:
    """The most that a gateway may hold, with all its workers and sessions."""
    kept = 0 if of.resume.redis_url or not of.resume.enabled else of.resume.bytes_max
    return of.server.workers * (WORKER_BYTES + kept) + of.server.sessions_max * session_bytes(of)


def page(of: Sections) -> Iterable[str]:
    """docs/operations/memory.md."""
    yield _HEAD
    yield from _table(parts(of))
    total = session_bytes(of)
    yield f"| **the most that a session may hold** | | **{_mib(total)}** |"
    yield ""
    kept, sessions = of.resume.bytes_max, of.server.sessions_max
    yield (
        f"A worker takes up to {_mib(WORKER_BYTES)} MiB without a session (`WORKER_BYTES`), and {_mib(kept)} for conversations that"
        " can be\n"
        f"resumed (`resume.bytes_max`; none with Redis). So the defaults, {sessions} sessions and one worker, hold at most"
        f" {_mib(gateway_bytes(of))} MiB."
    )
    yield _TAIL


def _table(rows: Sequence[Part]) -> Iterable[str]:
    yield "| What | Bound | MiB at most |"
    yield "|---|---|---|"
    for row in rows:
        names = ", ".join(name if name == "the same" else f"`{name}`" for name in row.bound.split(", "))
        yield f"| {row.what} | {names} | {_mib(row.bytes_max)} |"


def _mib(count: int) -> str:
    return f"{count / MIB:.1f}"


_HEAD = """# Memory

Generated by `make docs` (`voicefsm settings --format memory`) from `voicefsm/footprint.py`, with the defaults.

Whatever a session keeps has a bound, and a session that would need more of it ends with RESOURCE_EXHAUSTED, or loses the oldest.
An ordinary session takes less than 2 MiB ([performance](../performance.md)); this is what a hostile one can make it take:
"""
_TAIL = """
Set `server.memory_mib_max` to what the process may take (in Kubernetes: somewhat less than the container's limit), and a
configuration whose sessions could need more is refused at the start, and when it is reloaded; the message says what would fit.
Without it nothing is checked.
To hold more sessions in the same memory, lower what a session may hold: `session.outbox_bytes_max`, `riva.message_bytes_max`,
`session.history_chars_max`, `session.reply_chars_max`.

Not in the sum: what the allocator does not give back to the system, and TLS (some 50 KiB a connection)."""
