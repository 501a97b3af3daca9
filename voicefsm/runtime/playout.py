"""The far end of one session: what is synthesised, what was sent, what was heard. No tasks, no clock of its own.

Theory of operation
-------------------
Far-end positions count the samples sent over the whole session. The *cursor* is the position of the client's ear:

- a client that reports its playout sets it (`report`); between reports it is taken to move on at real time, up to what was sent;
- a client that never reports is taken to play at real time what it was sent.

Pacing: `take` gives the next piece out only while what was sent is less than `playout_ahead_ms_max` ahead of the cursor. gRPC
gives no back-pressure, so nothing else keeps a client's buffer short, and a short buffer is what makes a barge-in cheap.

Pause stops the sending at once, and the cursor as soon as the client says where it stopped. Nothing is dropped: resume goes on
with the next sample. Cancel drops all that was not heard. The heard text follows from the cursor and the voice's word timings,
or failing those from the durations it planned, or from the share of each segment that was heard; `HeardText.source` says which.
"""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from voicefsm.ports import Samples, SpokenAudio, SpokenWord
from voicefsm.runtime.heard import Rendered, SpokenText
from voicefsm.runtime.messages import AudioOutput
from voicefsm.values import NO_EPOCH, Epoch, SampleIndex, setting


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutSettings:
    """How audio is sent to clients."""

    playout_ahead_ms_max: int = setting(
        200, unit="ms", ge=40, le=2000, doc="How far audio is sent ahead of the client's ear; what a barge-in has to throw away."
    )
    piece_ms: int = setting(60, unit="ms", ge=10, le=100, doc="Length of one piece of audio on the wire.")
    report_gap_ms_max: int = setting(
        400, unit="ms", ge=40, le=5000, doc="How long playout is taken to go on without a report of a client that reports."
    )
    report_trust_ms_max: int = setting(
        2000,
        unit="ms",
        ge=100,
        le=60000,
        doc="How long a client may send audio without reporting its playout before it counts as one that never reports.",
    )
    synthesis_ahead_ms_max: int = setting(
        5000, unit="ms", ge=500, le=60000, doc="How much synthesised audio may wait to be sent; then the TTS server has to wait."
    )
    reply_ms_max: int = setting(
        600000, unit="ms", ge=10000, le=3600000, doc="The longest reply; audio beyond it is cut off and logged."
    )


@dataclasses.dataclass(slots=True)
class _Segment:
    """One piece of text and its place in the reply."""

    text: str
    first: int = 0
    """Offset of its first sample in the reply."""
    samples: int = 0
    words: list[SpokenWord] = dataclasses.field(default_factory=list)
    is_predicted: bool = False
    """Whether the voice only planned those times."""
    spoken: SpokenText | None = None
    """Made of text and words when it is asked for."""


SOURCES = ("all", "words", "durations", "proportional")
"""How a heard text is known, the surest first: nothing was cut; times the voice measured; times it planned; the share of audio."""


@dataclasses.dataclass(frozen=True, slots=True)
class HeardText:
    """What of a reply was heard, and how that is known."""

    text: str
    source: str
    """One of `SOURCES`."""


class Playout:
    """The far end of one session."""

    def __init__(self, rate_hz: int, settings: PlayoutSettings) -> None:
        """`rate_hz` is the client's output rate."""
        self._rate_hz = rate_hz
        self._piece = self._samples(settings.piece_ms)
        self._ahead_max = self._samples(settings.playout_ahead_ms_max)
        self._reply_max = self._samples(settings.reply_ms_max)
        self._waiting_max = self._samples(settings.synthesis_ahead_ms_max)
        self._gap_ms_max, self._trust_ms_max = settings.report_gap_ms_max, settings.report_trust_ms_max
        self.epoch = NO_EPOCH
        """The reply that is live or was the last one."""
        self._first = 0
        self._sent = 0
        self._base = 0
        """Where the ear was last known to be, or taken to be …"""
        self._base_ms = 0
        """… at this time."""
        self._reported_ms = 0
        self._reported: int | None = None
        """The client's last report; None while it has none that counts."""
        self.has_reported = False
        """The client has said where it is, be it long ago."""
        self._pieces: deque[Samples] = deque()
        self._made = 0
        self._segments: dict[int, _Segment] = {}
        self._is_live = self._is_made = self._is_cut = self._last_sent = False
        self._is_held = self._is_paused = False
        self.moved_ms = 0
        """When the client last said that its ear had moved on."""
        self.underruns = 0
        """Times the ear had to wait for the next piece within a reply, over the whole session."""
        self.truncated_samples = 0
        """Samples cut off the ends of replies that were longer than the limit, over the whole session."""

    # --- orders --------------------------------------------------------------------------------------------------------------

    def begin(self, epoch: Epoch) -> None:
        """A new reply. Its positions follow the last one ever sent."""
        self.epoch = epoch
        self._first = self._sent
        self._pieces.clear()
        self._segments = {}
        self._made = 0
        self._is_live = True
        self._is_made = self._is_cut = self._last_sent = False
        self._is_held = self._is_paused = False

    def hold(self) -> None:
        """Send nothing until `release`."""
        self._is_held = True

    def release(self) -> None:
        """Send again."""
        self._is_held = False

    def pause(self, now_ms: int) -> None:
        """Send nothing until `resume`; the client has been told to stand still."""
        self._freeze(now_ms)
        self._is_paused = True

    def resume(self, now_ms: int) -> None:
        """Go on at the next sample; what held the reply back is over as well."""
        self._freeze(now_ms)
        self._is_paused = self._is_held = False

    def cancel(self, now_ms: int) -> SampleIndex | None:
        """Drop what was not heard. Returns the last sample that counts as heard; None when no sample of the reply has left."""
        self._freeze(now_ms)
        self._pieces.clear()
        self._is_live = False
        return SampleIndex(self._first + self._heard(now_ms) - 1) if self._sent > self._first else None

    # --- facts ---------------------------------------------------------------------------------------------------------------

    def expect(self, index: int, text: str) -> None:
        """A segment that the voice was asked for."""
        self._segments[index] = _Segment(text)

    def add(self, audio: SpokenAudio) -> bool:
        """A piece of the voice, at the output rate. Whether playout has waited for it."""
        if not self._is_live:
            return False
        samples = audio.samples[: max(0, self._reply_max - self._made)]
        self.truncated_samples += len(audio.samples) - len(samples)
        self._is_cut = self._is_cut or len(samples) < len(audio.samples)
        segment = self._segments.setdefault(audio.index, _Segment(""))
        if not segment.samples:
            segment.first = self._made
        segment.samples += len(samples)
        if audio.words:
            segment.words.extend(audio.words)
            segment.spoken = None
        segment.is_predicted |= audio.is_predicted
        self._made += len(samples)
        has_waited = not self._pieces
        if len(samples):
            self._pieces.append(samples)
        return has_waited

    def add_earcon(self, samples: Samples) -> None:
        """A sound that is nobody's words, after what the voice has delivered; of the text, no more is spoken."""
        if self._is_live:
            self._is_cut = True
            self._made += len(samples)
            self._pieces.append(samples)

    def finish(self, *, is_cut: bool = False) -> None:
        """The voice has delivered all there is. `is_cut`: it failed, so that some of the text was never spoken."""
        self._is_made = True
        self._is_cut = self._is_cut or is_cut

    def report(self, far_end_sample: int, now_ms: int) -> None:
        """The client says which sample its loudspeaker renders next. Steps back and samples never sent are not believed."""
        self.has_reported = True
        before = self._reported
        self._reported = min(max(far_end_sample, before or 0), self._sent)
        if self._reported != before:
            self.moved_ms = now_ms
        self._base, self._base_ms = self._reported, now_ms
        self._reported_ms = now_ms

    def miss_report(self, now_ms: int) -> None:
        """The client is alive and does not say where it is. After a while it counts as one that never reports."""
        if self._reported is not None and now_ms - self._reported_ms > self._trust_ms_max:
            self._reported = None

    # --- questions -----------------------------------------------------------------------------------------------------------

    def position(self, now_ms: int) -> tuple[int, int]:
        """(heard, left) of the live or last reply in ms; left counts what is synthesised."""
        heard = self._heard(now_ms)
        return self._ms(heard), self._ms(self._made - heard)

    @property
    def is_made(self) -> bool:
        """Has the voice delivered all there is?"""
        return self._is_made

    def is_started(self, now_ms: int) -> bool:
        """Has the client rendered any of the reply? A client that reports has to say so."""
        return self._sent > self._first and self._known_sample(now_ms) > self._first

    def is_finished(self, now_ms: int) -> bool:
        """Has the client rendered all of it, and is there no more to come? A client that reports has to say so."""
        is_sent = self._is_made and not self._pieces
        return is_sent and (not self._made or self._known_sample(now_ms) >= self._first + self._made)

    def far_end_sample(self, now_ms: int) -> int:
        """Where the ear is: an estimate, unless the client has just said so."""
        if self._sent == self._first:
            return self._base  # where the last reply left it: the rest of that one, if any, was cancelled
        base = max(self._base, self._first)
        if self._is_paused or not self._is_live or base >= self._sent:
            return base
        elapsed_ms = max(0, now_ms - self._base_ms)
        if self._reported is not None:
            elapsed_ms = min(elapsed_ms, self._gap_ms_max)
        return min(base + self._samples(elapsed_ms), self._sent)

    def has_room(self) -> bool:
        """May the voice deliver more?"""
        return self._first + self._made - self._sent <= self._waiting_max or not self._is_live

    @property
    def unheard_samples_max(self) -> int:
        """The most that is ever sent and not heard: the pacing's limit and the piece that crosses it."""
        return self._ahead_max + self._piece

    def take(self, now_ms: int) -> AudioOutput | None:
        """The next piece that may be sent now, if any. The last one of a reply may be empty."""
        if not self._is_live or self._is_held or self._is_paused or self._last_sent:
            return None
        if not self._pieces:
            return self._end() if self._is_made else None
        if self._ahead(now_ms) >= self._ahead_max:
            return None
        return self._cut(now_ms)

    def next_take_ms(self, now_ms: int) -> int | None:
        """When to ask `take` again although nothing new has come; None: not before something does."""
        if not self._pieces or self._is_held or self._is_paused or not self._is_live:
            return None
        samples = self._ahead(now_ms) - self._ahead_max + 1
        return now_ms + max(1, -(-samples * 1000 // self._rate_hz))  # a moment too early is another wait

    def next_check_ms(self, now_ms: int) -> int | None:
        """When the end of the reply will be reached if nothing reports it; None while that is not in sight."""
        if not self._is_live or not self._last_sent or self._is_paused:
            return None
        return now_ms + max(_CHECK_MS, self._ms(self._ahead(now_ms)))

    def text(self) -> str:
        """All text the voice was asked for."""
        return " ".join(segment.text for _, segment in sorted(self._segments.items()) if segment.text)

    def heard_text(self, now_ms: int) -> HeardText:
        """What of it was heard, to the word. A segment that the voice made no sound of was not."""
        heard = self._heard(now_ms)
        parts, sources = [], {"all"}
        for _, segment in sorted(self._segments.items()):
            if not segment.samples or heard <= segment.first:
                continue
            text, source = self._heard_of(segment, min(heard - segment.first, segment.samples))
            parts.append(text)
            sources.add(source)
        return HeardText(" ".join(filter(None, parts)), max(sources, key=SOURCES.index))

    def rest(self, now_ms: int) -> tuple[str, ...]:
        """What of it was not heard, sentence by sentence, from the word at which the ear is."""
        heard, left = self._heard(now_ms), []
        for _, segment in sorted(self._segments.items()):
            words = segment.text.split()
            if segment.samples and heard > segment.first:
                text, _ = self._heard_of(segment, min(heard - segment.first, segment.samples))
                words = words[len(text.split()) :]
            left.append(" ".join(words))
        return tuple(filter(None, left))

    # --- inside --------------------------------------------------------------------------------------------------------------

    def _samples(self, ms: int) -> int:
        return ms * self._rate_hz // 1000

    def _ms(self, samples: int) -> int:
        return samples * 1000 // self._rate_hz

    def _heard(self, now_ms: int) -> int:
        return min(max(0, self.far_end_sample(now_ms) - self._first), self._sent - self._first)

    def _ahead(self, now_ms: int) -> int:
        return self._sent - max(self.far_end_sample(now_ms), self._first)

    def _known_sample(self, now_ms: int) -> int:
        """Where the ear is for certain: the last report, or, of a client that never reports, the best we have."""
        return self.far_end_sample(now_ms) if self._reported is None else self._reported

    def _freeze(self, now_ms: int) -> None:
        self._base, self._base_ms = self.far_end_sample(now_ms), now_ms

    def _cut(self, now_ms: int) -> AudioOutput:
        """Take one piece off the buffer."""
        if self._ahead(now_ms) == 0:
            self._base, self._base_ms = self._sent, now_ms  # the ear was waiting: it starts now
            self.underruns += self._sent > self._first
        taken: list[Samples] = []
        missing = self._piece
        while missing and self._pieces:
            piece = self._pieces.popleft()
            taken.append(piece[:missing])
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
            missing -= len(taken[-1])
        samples = taken[0] if len(taken) == 1 else np.concatenate(taken)
        self._last_sent = self._is_made and not self._pieces
        first = SampleIndex(self._sent)
        self._sent += len(samples)
        return AudioOutput(self.epoch, first, samples, last=self._last_sent)

    def _end(self) -> AudioOutput:
        """All audio has been sent before its end was known: an empty last piece."""
        self._last_sent = True
        return AudioOutput(self.epoch, SampleIndex(self._sent), np.empty(0, np.int16), last=True)

    def _heard_of(self, segment: _Segment, heard: int) -> tuple[str, str]:
        """The heard text of one segment of which `heard` > 0 samples were rendered."""
        later = any(other.first > segment.first for other in self._segments.values() if other.samples)
        is_whole = later or (self._is_made and not self._is_cut)
        if is_whole and heard >= segment.samples:
            return segment.text, "all"
        so_far = Rendered(self._ms(heard), self._ms(segment.samples), is_whole)
        if segment.spoken is None:
            segment.spoken = SpokenText(segment.text, segment.words)
        text, is_timed = segment.spoken.heard(so_far)
        return text, ("durations" if segment.is_predicted else "words") if is_timed else "proportional"


_CHECK_MS = 10
"""How soon to look again whether the client has come to the end."""
