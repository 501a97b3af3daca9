"""The settings of echo cancellation."""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.values import setting


class Canceller(enum.StrEnum):
    """The echo cancellers an operator can ask for."""

    AUTO = "auto"
    """`kalman` where it was compiled, else `speex` where libspeexdsp is installed, else `aec3`."""
    KALMAN = "kalman"
    """Our own: linear, with a network that says who speaks."""
    SPEEX = "speex"
    """The MDF canceller of the system's libspeexdsp, called directly."""
    SPEEXDSP = "speexdsp"
    """The same through the PyPI package `speexdsp`."""
    AEC3 = "aec3"
    """WebRTC's canceller from the wheel `pywebrtc-audio`."""
    NONE = "none"
    """No canceller: headsets, or clients that cancel themselves."""


@dataclasses.dataclass(frozen=True, slots=True)
class AecSettings:
    """How our own voice is taken out of the near end."""

    canceller: Canceller = setting(
        Canceller.AUTO,
        unit="",
        doc="Echo canceller: auto (kalman if it was compiled, else speex if libspeexdsp is there, else aec3), kalman, speex, "
        "speexdsp, aec3 or none.",
    )
    tail_ms: int = setting(
        200, unit="ms", ge=40, le=500, doc="Longest echo that speex models, lead included; kalman always models 400 ms."
    )
    reference_keep_ms: int = setting(
        4000, unit="ms", ge=1000, le=60000, doc="How much of the audio sent to the loudspeaker is kept as reference signal."
    )
    reference_lead_ms: int = setting(
        20, unit="ms", ge=0, le=100, doc="How much earlier than reported the reference is fed: an echo must not precede it."
    )
    reference_relock_ms: int = setting(
        12, unit="ms", ge=1, le=100, doc="Mean error between reported and predicted playout position that moves the reference."
    )
    reference_still_ms: int = setting(
        40, unit="ms", ge=20, le=500, doc="The far end counts as paused when its reported position stands still this long."
    )
    echo_hold_ms: int = setting(240, unit="ms", ge=20, le=1000, doc="How long after a far-end sample its echo may still be heard.")
    echo_margin_db: int = setting(
        9,
        unit="dB",
        ge=0,
        le=40,
        doc="Without kalman: speech is this much louder than the residual echo to be expected.",
    )
    gate_pct_min: int = setting(
        50,
        unit="%",
        ge=1,
        le=99,
        doc="A frame in which the network of the canceller kalman thinks near-end speech less likely than this is not voiced.",
    )
    recogniser_hold_ms: int = setting(
        100,
        unit="ms",
        ge=0,
        le=500,
        doc="While our own voice is audible, the recogniser gets each frame this much later: whole if somebody speaks by then, "
        "silent if the network of kalman is sure that it is echo only. 0 gives it all at once.",
    )
    gate_onset_pct_min: int = setting(
        30,
        unit="%",
        ge=1,
        le=99,
        doc="The same for the first frames of a stretch over our voice: enough to pause playout, which can be undone.",
    )
    far_active_db: int = setting(
        -55, unit="dB", ge=-90, le=0, doc="A reference signal at least this loud counts as far-end activity, dB full scale."
    )
    coupling_db: int = setting(
        -6,
        unit="dB",
        ge=-60,
        le=30,
        doc="Without kalman: echo level relative to the reference until it has been measured.",
    )
