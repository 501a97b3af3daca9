"""Every setting of the embedded servers."""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.embedded.llm_server import LlmServerSettings
from voicefsm.values import setting


class Search(enum.StrEnum):
    """Which sentences the recogniser expects."""

    MIXED = "mixed"
    """General English, mixed with what the embedded responder can answer."""
    OPEN = "open"
    """General English only."""
    DOMAIN = "domain"
    """Only words that occur in what the embedded responder can answer: a third of the CPU, and wrong about all others."""


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """Local engines behind the Riva and OpenAI protocols."""

    host: str = setting("127.0.0.1", unit="", doc="Address to listen on. There is no authentication: keep it on loopback.")
    riva_port: int = setting(50051, unit="", ge=0, le=65535, doc="Port of speech recognition and synthesis; 0: any free one.")
    llm_port: int = setting(8000, unit="", ge=0, le=65535, doc="Port of the responder; 0: any free one.")
    stop_ms_max: int = setting(2000, unit="ms", ge=0, le=60000, doc="How long running calls may go on after a signal to stop.")

    asr_search: Search = setting(
        Search.MIXED, unit="", doc="mixed, open or domain: general English with the responder's phrases, without, or those alone."
    )
    asr_domain_weight: float = setting(
        0.7, unit="", ge=0.001, le=0.999, doc="Share of the responder's phrases in the mixed search."
    )
    asr_streams_max: int = setting(
        8, unit="streams", ge=1, le=256, doc="Recognitions at a time; each takes about 100 MB. Further ones: RESOURCE_EXHAUSTED."
    )
    asr_chunk_ms: int = setting(
        80, unit="ms", ge=20, le=1000, doc="Audio that is decoded, and answered, at a time; clients may send chunks of any length."
    )
    asr_vad_mode: int = setting(
        2, unit="", ge=0, le=3, doc="How hard the voice activity detector is to convince (webrtcvad's mode)."
    )
    asr_pre_roll_ms: int = setting(
        300, unit="ms", ge=0, le=1000, doc="Audio from before the onset of an utterance that is decoded with it."
    )
    asr_start_history_ms: int = setting(
        160, unit="ms", ge=20, le=2000, doc="Window in which speech is looked for, unless the client sends start_history."
    )
    asr_stop_history_ms: int = setting(
        800, unit="ms", ge=40, le=10000, doc="Silence that ends an utterance, unless the client sends stop_history."
    )
    asr_first_pass_ms: int = setting(
        240, unit="ms", ge=0, le=10000, doc="Silence after which it is announced (stop_history_eou); 0: not announced."
    )
    asr_utterance_ms_max: int = setting(
        30000, unit="ms", ge=1000, le=120000, doc="Longer utterances are ended; the rest is the next one."
    )
    asr_idle_ms_max: int = setting(
        60000, unit="ms", ge=100, le=3600000, doc="A stream without audio for so long is dead, as with Riva: the next chunk fails."
    )
    asr_phrases_max: int = setting(
        500, unit="phrases", ge=0, le=5000, doc="Most phrases of one stream's speech_contexts; more: INVALID_ARGUMENT."
    )
    asr_recording_s_max: int = setting(
        600, unit="s", ge=1, le=7200, doc="Longest recording that Recognize takes; longer: INVALID_ARGUMENT."
    )

    tts_flite: bool = setting(True, unit="", doc="Offer flite's voices too, where libflite is installed.")
    tts_words_per_minute: int = setting(170, unit="words/min", ge=80, le=450, doc="Tempo of the espeak-ng voices.")
    tts_chunk_ms: int = setting(100, unit="ms", ge=10, le=2000, doc="Audio in each response of SynthesizeOnline.")
    tts_first_chunk_ms: int = setting(
        0, unit="ms", ge=0, le=10000, doc="Delay before the first audio of each text, to imitate slower engines."
    )
    tts_pace: float = setting(
        0.0,
        unit="x real time",
        ge=0,
        le=1000,
        doc="How fast audio is handed out, to imitate slower engines; 0: as fast as it comes.",
    )
    tts_text_chars_max: int = setting(
        2000, unit="characters", ge=1, le=100000, doc="Longest text of one request; longer: INVALID_ARGUMENT, as with Riva."
    )
    tts_streams_max: int = setting(64, unit="streams", ge=1, le=10000, doc="Syntheses at a time; further ones: RESOURCE_EXHAUSTED.")

    llm_first_token_ms: int = setting(60, unit="ms", ge=0, le=60_000, doc="Delay before the responder's first token.")
    llm_tokens_per_s: float = setting(60.0, unit="tokens/s", ge=0.1, le=100_000, doc="Tokens it hands out per second.")
    llm_connections_max: int = setting(256, unit="connections", ge=1, le=10_000, doc="Its connections; further ones get a 503.")

    @property
    def llm(self) -> LlmServerSettings:
        """What the responder's server is told."""
        return LlmServerSettings(
            host=self.host,
            port=self.llm_port,
            first_token_ms=self.llm_first_token_ms,
            tokens_per_second=self.llm_tokens_per_s,
            connections_max=self.llm_connections_max,
        )
