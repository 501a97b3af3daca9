"""Which echo canceller a session gets, and why.

Nobody gets none without having asked for it: a missing canceller is a `SettingsError` before a port opens, or, with `auto`,
the other one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from voicefsm.adapters import speex, speex_swig
from voicefsm.adapters.aec3 import Aec3Canceller
from voicefsm.aec import kalman
from voicefsm.aec.settings import AecSettings, Canceller
from voicefsm.audio.samples import Samples
from voicefsm.ports import EchoCanceller


class NullCanceller:
    """Leaves the near end as it is: for headsets, and for clients that cancel echo themselves."""

    name = "none"

    def process(self, near: Samples, far: Samples) -> Samples:  # noqa: ARG002 (the port has it)
        """Return `near`."""
        return near

    def close(self) -> None:
        """Nothing to free."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The canceller this process uses."""

    name: str
    """As `EchoCanceller.name`."""
    reason: str
    """One sentence for the log and for `doctor`."""
    make: Callable[[], EchoCanceller]
    """A new one for a session."""


def choose_canceller(settings: AecSettings) -> Choice:
    """Decide. Raises `SettingsError`, with what to install, when the canceller asked for is not there."""
    return _CHOICES[settings.canceller](settings)


def _auto(settings: AecSettings) -> Choice:
    """Our own where it was compiled, else the linear one that is installed, else the one from the wheel."""
    if kalman.library() is not None:
        return Choice("kalman", "It was compiled when voicefsm was installed.", kalman.KalmanCanceller)
    if speex.library() is None:
        return Choice(
            "aec3", f"kalman was not compiled and libspeexdsp is not installed. {kalman.REMEDY} {speex.REMEDY}", Aec3Canceller
        )
    return Choice(
        "speex", f"kalman was not compiled, libspeexdsp is installed. {kalman.REMEDY}", lambda: speex.SpeexCanceller(settings)
    )


def _kalman(_: AecSettings) -> Choice:
    return _tried(Choice("kalman", "The setting aec.canceller asks for it.", kalman.KalmanCanceller))


def _speex(settings: AecSettings) -> Choice:
    return _tried(Choice("speex", "The setting aec.canceller asks for it.", lambda: speex.SpeexCanceller(settings)))


def _speexdsp(settings: AecSettings) -> Choice:
    return _tried(Choice("speexdsp", "The setting aec.canceller asks for it.", lambda: speex_swig.SpeexDspCanceller(settings)))


def _aec3(_: AecSettings) -> Choice:
    return Choice("aec3", "The setting aec.canceller asks for it.", Aec3Canceller)


def _none(_: AecSettings) -> Choice:
    return Choice("none", "The setting aec.canceller asks for none: loudspeakers will interrupt the assistant.", NullCanceller)


def _tried(choice: Choice) -> Choice:
    """Make one now, so that a missing library is an error at start and not in the first session."""
    choice.make().close()
    return choice


_CHOICES: dict[Canceller, Callable[[AecSettings], Choice]] = {
    Canceller.AUTO: _auto,
    Canceller.KALMAN: _kalman,
    Canceller.SPEEX: _speex,
    Canceller.SPEEXDSP: _speexdsp,
    Canceller.AEC3: _aec3,
    Canceller.NONE: _none,
}
