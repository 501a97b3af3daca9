"""The user's telephone in a run: it speaks an item into the microphone and records what the loudspeaker rendered.

Theory of operation. One clock for both, in blocks of 10 ms as audio devices have them. At the beginning of block k the loudspeaker
takes its samples, so a pause or a cancel that has arrived is heard from the next block on, and the microphone begins to record
block k. Two blocks are a frame, sent when it is complete, with the far-end position that was at the loudspeaker when it began.
Sample n of the recording is what the user heard while sample n of the item was spoken. In a room the microphone also hears what
the loudspeaker renders.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from voicefsm.acoustics.signals import Signal, floats, pcm
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.client import (
    Conversation,
    ConversationEnded,
    ConversationFailed,
    Event,
    Outcome,
    PlayoutDucked,
    PlayoutPaused,
    PlayoutResumed,
    StateChanged,
    Transcript,
    TtsCancelled,
    TurnCompleted,
)

BLOCK_SAMPLES = FRAME_SAMPLES // 2

Room = Callable[[Samples], Signal]
"""From a frame of the loudspeaker to the echo in the same frame at the microphone, full scale 1.0."""


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """Something the server said, on the item's clock."""

    at_ms: float
    kind: str
    about: str


class Telephone:
    """One call."""

    def __init__(self, audio: Samples, room: Room | None = None) -> None:
        blocks = -(-len(audio) // FRAME_SAMPLES) * FRAME_SAMPLES // BLOCK_SAMPLES
        self._item = np.zeros(blocks * BLOCK_SAMPLES, np.int16)
        self._item[: len(audio)] = audio
        self._room = room
        self._clock = asyncio.get_running_loop().time
        self._started_s: float | None = None
        self.rendered = np.zeros_like(self._item)
        """What the user heard."""
        self.notes: list[Note] = []
        self.spans: list[tuple[int, int, int, int]] = []
        """(place in the recording, epoch, far-end position, length) of all that was rendered."""
        self.ended: dict[int, int] = {}
        """Replies that were heard to their end, and their length in samples."""
        self.late_blocks = 0
        """Blocks that began more than a block late: this machine is too busy for real time."""
        self.session_ms: float | None = None
        """Where the session's own clock begins, on the item's clock."""

    def now_ms(self) -> float:
        """The microphone's clock; negative before the call."""
        return -1.0 if self._started_s is None else (self._clock() - self._started_s) * 1000

    async def hold(self, conversation: Conversation) -> None:
        """Play the whole item. Ends early when the conversation does."""
        listening = asyncio.create_task(self._listen(conversation))
        try:
            await self._play(conversation)
        except (ConversationEnded, ConversationFailed):
            await listening  # says why
        finally:
            listening.cancel()

    async def _play(self, conversation: Conversation) -> None:
        self._started_s = self._clock()
        far_end_sample = 0
        for first in range(0, len(self._item), BLOCK_SAMPLES):
            delay_s = self._started_s + first / RATE_HZ - self._clock()
            self.late_blocks += delay_s < -BLOCK_SAMPLES / RATE_HZ
            await asyncio.sleep(max(0.0, delay_s))
            if first % FRAME_SAMPLES == 0:
                if first:
                    frame = self._captured(first - FRAME_SAMPLES)
                    await conversation.send_audio(frame, capture_sample=first - FRAME_SAMPLES, far_end_sample=far_end_sample)
                far_end_sample = conversation.player.position
            self._render(conversation, first)

    def _render(self, conversation: Conversation, first: int) -> None:
        """A block leaves the loudspeaker."""
        self.rendered[first : first + BLOCK_SAMPLES] = conversation.player.render(BLOCK_SAMPLES)
        self.spans += [(first + span.offset, span.epoch, span.first_sample, span.length) for span in conversation.player.spans]

    def _captured(self, first: int) -> Samples:
        """What the microphone heard in a frame that is over."""
        here = slice(first, first + FRAME_SAMPLES)
        if self._room is None:
            return self._item[here]
        return pcm(floats(self._item[here]) + self._room(self.rendered[here]))

    async def _listen(self, conversation: Conversation) -> None:
        async for event in conversation:
            at_ms = event.received_ms - 1000 * (self._started_s if self._started_s is not None else self._clock())
            if isinstance(event, StateChanged) and self.session_ms is None:
                self.session_ms = at_ms - event.session_ms
            if isinstance(event, TurnCompleted) and event.outcome is Outcome.COMPLETED:
                self.ended[event.epoch] = sum(length for _, epoch, _, length in self.spans if epoch == event.epoch)
            self.notes += [Note(round(at_ms, 1), kind, about) for kind, about in _told(event)]

    def log(self) -> dict[str, Any]:
        """All but the sound, as JSON."""
        return {
            "session_ms": self.session_ms,
            "late_blocks": self.late_blocks,
            "notes": [dataclasses.astuple(note) for note in self.notes],
            "spans": self.spans,
        }


def _told(event: Event) -> list[tuple[str, str]]:  # noqa: PLR0911 - one return for each kind
    match event:
        case PlayoutPaused():
            return [("pause", f"reply {event.epoch}")]
        case PlayoutDucked():
            return [("duck", f"reply {event.epoch} by {event.duck_db} dB")]
        case PlayoutResumed():
            return [("resume", f"reply {event.epoch}")]
        case TtsCancelled():
            return [("cancel", f"reply {event.epoch} ({event.reason})")]
        case StateChanged():
            return [("state", f"{event.before} > {event.after} ({event.event})")]
        case Transcript(is_final=True):
            return [("final", event.text)]
        case _:
            return []
