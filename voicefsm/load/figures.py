"""From what callers saw to figures and whether a level is within its limits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from voicefsm.load.caller import Seen
from voicefsm.load.cancellations import Cancellations
from voicefsm.load.idlers import Idle
from voicefsm.load.percentiles import Percentiles
from voicefsm.load.scrape import LoopLag, Mean, Scraped
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import Usage

DRIVER_LATE_SHARE_MAX = 0.01
"""A driver that is late with more of its frames than this measures itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """One number of sessions."""

    sessions: int
    echo_db: int | None
    """Echo return loss of the callers' lines; None where they wear headsets."""
    refused: int
    seconds: float
    overhead_ms: Percentiles
    """First audio beyond the scripted parts."""
    pause_ms: Percentiles
    """Onset to the order to pause."""
    cancel_ms: Percentiles
    """Onset to CancelTts."""
    missing_answers: int
    ignored: int
    """Interruptions that were not obeyed."""
    false_pauses: int
    """Times an answer fell silent although its caller did not talk over it, those included that …"""
    false_cuts: int
    """… were thrown away."""
    words_per_utterance: float
    """What is understood of a caller: more than without an echo is heard in the echo, less is lost in it. NaN of nothing."""
    underruns: int
    gaps: int
    errors: tuple[str, ...]
    driver_late_share: float
    """Share of the frames that the driver itself sent more than 5 ms late."""
    cpu_s_per_session_minute: float | None
    cpu_share: float | None
    """Of one core, of the gateway."""
    memory_kib_per_session: float | None
    loop_lag_ms: LoopLag | None = None
    """Of the gateway's event loop, as its metrics tell."""
    counts: Mapping[str, int] | None = None
    """What else the gateway's metrics have counted, by their names."""
    means: Mapping[str, Mean] | None = None
    """… and what they came to in the mean."""
    worker_shares: tuple[float, ...] = ()
    """Of one core, of each worker, where there are several."""
    cancellations: Cancellations | None = None
    """How barge-ins reached the voice's server, where both it and the gateway are ours."""
    idle: Idle | None = None
    """Who was there as well, and said nothing."""

    @property
    def is_measured(self) -> bool:
        """Whether the driver kept its own time."""
        return self.driver_late_share <= DRIVER_LATE_SHARE_MAX

    def is_within(self, settings: LoadSettings) -> bool:
        """Whether it keeps the limits."""
        troubles = self.missing_answers + self.false_cuts + self.underruns + self.gaps + len(self.errors) + self.refused
        if self.idle is not None:
            troubles += self.idle.lost
        latencies = (
            self.overhead_ms.p95 <= settings.overhead_p95_ms_max and self.pause_ms.p95 <= settings.barge_in_p95_ms_max
        )  # NaN is no pass
        return (latencies or not self.sessions) and troubles == 0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"is_measured": self.is_measured}


def level(
    sessions: int,
    seconds: float,
    seen: Sequence[Seen],
    settings: LoadSettings,
    used: tuple[Usage, Usage, Usage] | None,
    *,
    told: Scraped | None = None,
) -> Level:
    """The figures. `used`: of the gateway before the first caller, when it began to count, and at the end.

    `told`: what the gateway says of the time between the last two.
    """
    chain = itertools.chain.from_iterable
    held = [one for one in seen if not one.refused]
    frames = sum(one.frames for one in held)
    cpu_s = None if used is None else used[2].cpu_s - used[1].cpu_s
    memory = None if used is None else (used[2].memory_kib - used[0].memory_kib) / max(1, len(held))
    return Level(
        sessions=sessions,
        echo_db=settings.echo_db,
        refused=len(seen) - len(held),
        seconds=seconds,
        overhead_ms=Percentiles.of([ms - settings.scripted_ms for ms in chain(one.first_audio_ms for one in held)]),
        pause_ms=Percentiles.of(list(chain(one.pause_ms for one in held))),
        cancel_ms=Percentiles.of(list(chain(one.cancel_ms for one in held))),
        missing_answers=sum(one.missing_answers for one in held),
        ignored=sum(one.ignored for one in held),
        false_pauses=sum(one.false_pauses for one in held),
        false_cuts=sum(one.false_cuts for one in held),
        words_per_utterance=_share(sum(one.words for one in held), sum(one.utterances for one in held)),
        underruns=sum(one.underruns for one in held),
        gaps=sum(one.gaps for one in held),
        errors=tuple(chain(one.errors for one in held)),
        driver_late_share=sum(len(one.late_frames_ms) for one in held) / max(1, frames),
        cpu_s_per_session_minute=None if cpu_s is None else round(cpu_s / max(1, len(held)) / seconds * 60, 3),
        cpu_share=None if cpu_s is None else round(cpu_s / seconds, 3),
        memory_kib_per_session=None if memory is None else round(memory),
        loop_lag_ms=None if told is None else LoopLag.of(told.lag),
        counts=None if told is None else told.counts,
        means=None if told is None else told.means,
        worker_shares=() if used is None else _shares(used[1].cpu_s_each, used[2].cpu_s_each, seconds),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 2) if whole else float("nan")


def _shares(before: Sequence[float], after: Sequence[float], seconds: float) -> tuple[float, ...]:
    """What each worker used of a core; the parent comes first, and does nothing."""
    return tuple(round((end - begin) / seconds, 3) for begin, end in zip(before[1:], after[1:], strict=False))
