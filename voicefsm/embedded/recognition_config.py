"""What a client's `RecognitionConfig` means here, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable

from riva.client.proto import riva_asr_pb2 as asr
from riva.client.proto import riva_audio_pb2 as riva_audio

from voicefsm.embedded.audio import RATE_HZ_MAX, RATE_HZ_MIN, Coding, Format
from voicefsm.embedded.endpointing import FRAME_MS, Windows
from voicefsm.embedded.pocketsphinx_engine import LANGUAGE, RATE_HZ
from voicefsm.embedded.recognition import Hearing
from voicefsm.embedded.refusal import Refused
from voicefsm.embedded.settings import EmbeddedSettings

MODEL = "pocketsphinx-en-US-asr"
ONLINE, OFFLINE = "online", "offline"
WINDOW_STEP_MS = 80
"""Endpointing windows are rounded up to this, as Riva's must be multiples of it."""
WINDOW_MS_MAX = 60_000
START_SHARE, STOP_SHARE = 0.5, 0.98
"""Shares of a window that decide, unless the client says otherwise."""
BOOST = 4.0
"""The boost that makes phrases as likely as all else: the default of riva.client."""

_CODINGS = {
    riva_audio.AudioEncoding.ENCODING_UNSPECIFIED: Coding.PCM,
    riva_audio.AudioEncoding.LINEAR_PCM: Coding.PCM,
    riva_audio.AudioEncoding.MULAW: Coding.MULAW,
    riva_audio.AudioEncoding.ALAW: Coding.ALAW,
}


def check(config: asr.RecognitionConfig, kind: str) -> Format:
    """What the client is going to send. Raises `Refused` for what cannot be served."""
    coding = _CODINGS.get(config.encoding)
    if coding is None:
        raise Refused("Only LINEAR_PCM, MULAW and ALAW encodings are supported.")
    rate_hz = config.sample_rate_hertz or RATE_HZ
    if not RATE_HZ_MIN <= rate_hz <= RATE_HZ_MAX:
        raise Refused(f"sample_rate_hertz must be between {RATE_HZ_MIN} and {RATE_HZ_MAX}, or 0 ({RATE_HZ}, or a WAV header's).")
    if config.audio_channel_count > 1 or config.enable_separate_recognition_per_channel:
        raise Refused("Only mono audio supported.")
    if config.diarization_config.enable_speaker_diarization:
        raise Refused("Speaker diarization is not supported.")
    languages = {code.strip().lower() for code in config.language_code.split(",")}
    if languages.isdisjoint({"", LANGUAGE.lower()}) or config.model not in ("", f"{MODEL}-{kind}"):
        model = f" model={config.model};" if config.model else ""
        asked = f"language_code={config.language_code}; type={kind};{model}"
        raise Refused(f"Error: Unavailable model requested given these parameters: {asked} (there is {MODEL}-{kind}, {LANGUAGE})")
    return Format(coding, rate_hz)


def expected(contexts: Iterable[asr.SpeechContext], phrases_max: int) -> tuple[list[str], float]:
    """The phrases of a stream, and their share: Riva's boost of 4 is half, 20 five sixths. Raises `Refused`."""
    wanted = [context for context in contexts if context.boost >= 0]
    phrases = [phrase for context in wanted for phrase in context.phrases]
    if len(phrases) > phrases_max:
        raise Refused(f"speech_contexts hold {len(phrases)} phrases, at most {phrases_max} are taken (embedded.asr_phrases_max).")
    boost = max((context.boost for context in wanted), default=0.0) or BOOST
    return phrases, boost / (boost + BOOST)


def hearing(config: asr.RecognitionConfig, settings: EmbeddedSettings) -> Hearing:
    """How to listen to this client: its endpointing where it says so (above 0), else ours."""
    asked = config.endpointing_config

    def frames(asked_ms: int, default_ms: int) -> int:
        return _rounded_up(asked_ms) // FRAME_MS if asked_ms > 0 else default_ms // FRAME_MS

    windows = Windows(
        start_frames=frames(asked.start_history, settings.asr_start_history_ms),
        start_share=asked.start_threshold if 0 < asked.start_threshold <= 1 else START_SHARE,
        stop_frames=frames(asked.stop_history, settings.asr_stop_history_ms),
        stop_share=asked.stop_threshold if 0 < asked.stop_threshold <= 1 else STOP_SHARE,
        first_pass_frames=frames(asked.stop_history_eou, settings.asr_first_pass_ms),
        first_pass_share=asked.stop_threshold_eou if 0 < asked.stop_threshold_eou <= 1 else STOP_SHARE,
    )
    return Hearing(
        windows=windows,
        vad_mode=settings.asr_vad_mode,
        pre_roll_frames=settings.asr_pre_roll_ms // FRAME_MS,
        utterance_frames_max=settings.asr_utterance_ms_max // FRAME_MS,
    )


def _rounded_up(window_ms: int) -> int:
    return -(-min(window_ms, WINDOW_MS_MAX) // WINDOW_STEP_MS) * WINDOW_STEP_MS
