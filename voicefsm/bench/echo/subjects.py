"""What is measured: a canceller, and its belief that somebody speaks at the near end.

A subject sees what a gateway sees, in pieces of 10 ms: the microphone, the far end as it was sent, and the client's playout
reports. The cancellers of `adapters` get what the gateway would give them: a reference aligned by the reports, in frames of 20 ms,
so that their output is 10 ms late; belief is WebRTC's voice detector on the output. Those named "as sent" go without alignment.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np

from voicefsm.adapters.echo import choose_canceller
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.aec.reference import Reference
from voicefsm.aec.settings import AecSettings, Canceller
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples
from voicefsm.bench.echo.metrics import TICK_SAMPLES
from voicefsm.bench.echo.scene import Scene
from voicefsm.errors import SettingsError
from voicefsm.ports import EchoCanceller, VoiceDetector
from voicefsm.vad.settings import VadSettings

DETECTOR_MODE = 3
"""Of the voice detector behind the cancellers that have no gate of their own."""
DETECTOR_NEED_MS = 150
GATE_NEED_MS = 60


class Subject(Protocol):
    """A canceller under test, for one scene."""

    near_end: bool
    """The belief after the last piece."""

    def process(self, near: Samples, far: Samples) -> Samples:
        """Take 10 ms of the microphone and of the far end as sent, shape (160,); return as much without echo, perhaps late."""

    def on_ack(self, mic_pos: int, ref_pos: int) -> None:
        """A playout report: when microphone sample `mic_pos` was captured, far-end sample `ref_pos` left the loudspeaker."""


Factory = Callable[[Scene], Subject]
"""Makes a subject for a scene, of which it may ask nothing but the condition's seed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A subject on the list."""

    make: Factory
    need_ms: int
    """The unbroken belief that makes a trigger."""


class Adapted:
    """A canceller of the gateway, behind the gateway's alignment."""

    def __init__(self, canceller: EchoCanceller, detector: VoiceDetector, settings: AecSettings, *, aligned: bool) -> None:
        """Owns `canceller`."""
        self.near_end = False
        self._canceller, self._detector, self._aligned = canceller, detector, aligned
        self._reference = Reference(RATE_HZ, settings)
        self._lead = settings.reference_lead_ms * SAMPLES_PER_MS
        self._offset: int | None = None
        """Microphone position less far-end position, by the last report."""
        self._sent = 0
        self._near, self._far, self._out = (np.zeros(FRAME_SAMPLES, np.int16) for _ in range(3))
        self._half = 0

    def on_ack(self, mic_pos: int, ref_pos: int) -> None:
        """See `Subject`."""
        self._offset = mic_pos - ref_pos

    def process(self, near: Samples, far: Samples) -> Samples:
        """See `Subject`; every other call completes a frame."""
        piece = slice(self._half * TICK_SAMPLES, (self._half + 1) * TICK_SAMPLES)
        self._near[piece], self._far[piece] = near, far
        self._reference.append(self._sent, far)
        self._sent += TICK_SAMPLES
        self._half ^= 1
        if self._half:
            return self._out[TICK_SAMPLES:]
        self._out = self._canceller.process(self._near, self._rendered())
        self.near_end = self._detector.is_speech(self._out)
        return self._out[:TICK_SAMPLES]

    def _rendered(self) -> Samples:
        """The far end of the frame just completed."""
        if not self._aligned:
            return self._far
        if self._offset is None:
            return self._reference.rendered(None)
        # A gateway has sent more than is due, here what is due is sent just now: the lead must not reach beyond it.
        return self._reference.rendered(self._sent - FRAME_SAMPLES - max(self._offset, self._lead))


class Untouched:
    """No canceller: what the others are compared with."""

    def __init__(self) -> None:
        self.near_end = False
        self._detector = WebRtcVoiceDetector(VadSettings(mode=DETECTOR_MODE))
        self._frame = np.zeros(FRAME_SAMPLES, np.int16)

    def on_ack(self, mic_pos: int, ref_pos: int) -> None:
        """Of no use."""

    def process(self, near: Samples, far: Samples) -> Samples:  # noqa: ARG002 (the protocol has it)
        """Return `near`."""
        self._frame = np.concatenate((self._frame[TICK_SAMPLES:], near))
        self.near_end = self._detector.is_speech(self._frame)
        return near


def _untouched() -> Entry:
    return Entry(lambda _: Untouched(), DETECTOR_NEED_MS)


def _adapted(canceller: Canceller, *, aligned: bool) -> Entry:
    """Raises `SettingsError` where the canceller is not installed."""
    settings = AecSettings(canceller=canceller)
    choice = choose_canceller(settings)

    def make(_: Scene) -> Subject:
        return Adapted(choice.make(), WebRtcVoiceDetector(VadSettings(mode=DETECTOR_MODE)), settings, aligned=aligned)

    return Entry(make, DETECTOR_NEED_MS)


def _gated(path: str) -> Entry:
    """A subject with a gate of its own, by MODULE:FUNCTION. Raises `SettingsError` when there is no such."""
    module, _, function = path.partition(":")
    try:
        return Entry(getattr(importlib.import_module(module), function), GATE_NEED_MS)
    except (ModuleNotFoundError, AttributeError) as missing:
        raise SettingsError(f"The canceller {path} cannot be loaded: {missing}.", remedy="Give MODULE:FUNCTION.") from missing


SUBJECTS: Mapping[str, Callable[[], Entry]] = {
    "own": partial(_gated, "voicefsm.aec.sim:factory"),
    "speex": partial(_adapted, Canceller.SPEEX, aligned=True),
    "aec3": partial(_adapted, Canceller.AEC3, aligned=True),
    "none": _untouched,
    "speex-as-sent": partial(_adapted, Canceller.SPEEX, aligned=False),
    "aec3-as-sent": partial(_adapted, Canceller.AEC3, aligned=False),
}
STANDARD = ("own", "speex", "aec3")
"""What is compared when nothing is asked for, as far as it is installed."""


def entry(name: str) -> Entry:
    """The subject of a name, or MODULE:FUNCTION. Raises `SettingsError` when there is no such, or it is not installed."""
    if name in SUBJECTS:
        return SUBJECTS[name]()
    if ":" not in name:
        remedy = f"There are {', '.join(SUBJECTS)}, and MODULE:FUNCTION of your own."
        raise SettingsError(f"There is no canceller {name!r}.", remedy=remedy)
    return _gated(name)


def standard() -> tuple[str, ...]:
    """Those of `STANDARD` that are installed here."""
    return tuple(name for name in STANDARD if _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        entry(name)
    except SettingsError:
        return False
    return True
