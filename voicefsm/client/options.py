"""What a client asks of a session, and how the connection is kept. Whatever is None is left to the server (docs/settings.md)."""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.client.player import PlayerSettings
from voicefsm.client.tools import Tool
from voicefsm.values import setting

SAMPLE_RATES_HZ = (8000, 16000, 24000, 48000)
"""The sample rates of the protocol."""


class Encoding(enum.StrEnum):
    """How samples are coded on the wire."""

    PCM16 = "pcm16"
    """Signed 16-bit little-endian."""
    MULAW = "mulaw"
    """ITU-T G.711 mu-law."""


class Interruption(enum.StrEnum):
    """When the user may cut the assistant off."""

    ENABLED = "enabled"
    CLIENT_ONLY = "client_only"
    DISABLED = "disabled"


@dataclasses.dataclass(frozen=True, slots=True)
class AudioFormat:
    """Sample coding and rate of one direction. Always mono."""

    encoding: Encoding = Encoding.PCM16
    sample_rate_hz: int = 16000


@dataclasses.dataclass(frozen=True, slots=True)
class SessionOptions:
    """The first message of a session."""

    input_format: AudioFormat = AudioFormat()
    """The microphone's."""
    output_format: AudioFormat | None = None
    """The loudspeaker's; None: as the microphone's."""
    language_code: str = ""
    """BCP-47; empty: the server's default."""
    voice_name: str = ""
    system_prompt: str = ""
    interruption: Interruption | None = None
    barge_in_speech_ms_min: int | None = None
    """Near-end speech this long cancels a reply without a recognised word."""
    barge_in_words_min: int | None = None
    """This many recognised words cancel a reply."""
    barge_in_onset_ms_min: int | None = None
    """Near-end speech shorter than this never cancels a reply."""
    guard_ms: int | None = None
    """Start of a reply in which wordless speech must be twice as long to cancel it."""
    decision_ms_max: int | None = None
    """Longest time that playout stays paused before an interruption is decided."""
    vad_mode: int | None = None
    """What counts as speech, no unit: 0 takes most for it, 3 the least."""
    vad_level_db_min: int | None = None
    """Audio quieter than this, in dB full scale, is never speech."""
    vad_hangover_ms: int | None = None
    """Silence after which a stretch of speech is over."""
    client_echo_cancellation: bool = False
    """True when the microphone's signal holds no echo of the loudspeaker: a headset, a browser."""
    model: str = ""
    """As the server's backend lists it; empty: the server's default."""
    temperature: float | None = None
    tokens_max: int | None = None
    silence_ms: int | None = None
    """Silence after which the user's turn is over."""
    push_to_talk: bool | None = None
    """Only `end_of_speech` ends the user's turn."""
    tools: tuple[Tool, ...] = ()
    """What the model may have this client do; see `tool`."""
    tool_ms_max: int | None = None
    """How long a tool may take before the model is told that it failed."""
    filler_ms: int | None = None
    """Silence while a tool is at work after which the user is told to wait; 0: never."""
    filler_text: str = ""
    """What is said then; empty: the server's phrase."""
    resume_token: str = ""
    """Of a session that is to go on (`SessionReady.resume_token`); what is left unset here is then as it was there."""

    @property
    def playout_format(self) -> AudioFormat:
        """The format in which the assistant's voice arrives."""
        return self.output_format or self.input_format


@dataclasses.dataclass(frozen=True, slots=True)
class ClientSettings:
    """How the client library itself behaves."""

    connect_ms_max: int = setting(
        10_000, unit="ms", ge=100, le=120_000, doc="How long the server may take to say that the session is ready."
    )
    close_ms_max: int = setting(
        2000,
        unit="ms",
        ge=0,
        le=60_000,
        doc="How long hanging up and the server's last words may take; then the call is cancelled.",
    )
    keepalive_ms: int = setting(
        20_000, unit="ms", ge=10_000, le=3_600_000, doc="How often a silent connection is pinged; servers refuse shorter intervals."
    )
    keepalive_timeout_ms: int = setting(
        10_000, unit="ms", ge=500, le=120_000, doc="How long a ping may stay unanswered before the connection counts as dead."
    )
    report_ms: int = setting(
        100, unit="ms", ge=20, le=1000, doc="How often playout is reported while no microphone audio carries the report."
    )
    send_messages_max: int = setting(
        100, unit="messages", ge=4, le=10_000, doc="Messages waiting to be sent; when full, sending waits."
    )
    events_max: int = setting(
        1000, unit="events", ge=10, le=100_000, doc="Events waiting to be looked at; when full, the oldest are dropped and counted."
    )
    resume_attempts_max: int = setting(
        10, unit="attempts", ge=0, le=1000, doc="How often in a row `resuming` tries to get a session that lasts."
    )
    resume_lasting_ms_min: int = setting(
        5000, unit="ms", ge=0, le=600_000, doc="A session that lived so long was one; the attempts after it are counted anew."
    )
    resume_wait_ms_min: int = setting(100, unit="ms", ge=1, le=60_000, doc="Wait before the second of them; doubles with each …")
    resume_wait_ms_max: int = setting(2000, unit="ms", ge=1, le=600_000, doc="… up to this.")
    player: PlayerSettings = PlayerSettings()
