"""The scripted user's mouth: the embedded TTS server, asked over the wire for another voice than the assistant's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import grpc
import numpy as np
from riva.client.proto import riva_audio_pb2 as riva_audio
from riva.client.proto import riva_tts_pb2 as riva_tts
from riva.client.proto.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from voicefsm.audio.samples import RATE_HZ, Samples
from voicefsm.errors import VoiceFsmError

LANGUAGE = "en-US"
CALL_S_MAX = 30.0
"""How long one synthesis may take."""
USER_PREFERENCES = ("slt", "Female", "awb")
"""Parts of the names of voices for the user, best first."""
ASSISTANT_PREFERENCES = ("rms", "Male", "awb")
"""The same for the assistant."""
LEVEL_MIN = 300
"""What is quieter at the beginning and the end of an utterance is cut off: the first sample is the onset."""
PEAK = 16000
"""The user speaks at this level: -6 dB full scale."""


@dataclasses.dataclass(frozen=True, slots=True)
class Voices:
    """Who speaks how."""

    user: str
    assistant: str


async def choose_voices(target: str, user: str, assistant: str) -> Voices:
    """Pick two different voices among those the server lists; names that are given are taken as they are."""
    async with grpc.aio.insecure_channel(target) as channel:
        request = riva_tts.RivaSynthesisConfigRequest()
        answer = await RivaSpeechSynthesisStub(channel).GetRivaSynthesisConfig(request, timeout=CALL_S_MAX)
    names = [name for model in answer.model_config for name in _names(model)]
    chosen = user or _prefer(names, USER_PREFERENCES)
    others = [name for name in names if name != chosen]
    if not others and not assistant:
        raise VoiceFsmError(f"The TTS server at {target} has no second voice.", remedy="Name two voices that it has.")
    return Voices(chosen, assistant or _prefer(others, ASSISTANT_PREFERENCES))


def _names(model: riva_tts.RivaSynthesisConfigResponse.Config) -> Sequence[str]:
    """The voices of one model in our language: `voice.subvoice`, as Riva composes them."""
    parameters = model.parameters
    if LANGUAGE not in parameters.get("language_code", LANGUAGE):
        return ()
    voice = parameters.get("voice_name", model.model_name)
    speakers = [part.split(":")[0].strip() for part in parameters.get("subvoices", "").split(",") if part.strip()]
    return [f"{voice}.{speaker}" for speaker in speakers] or [voice]


def _prefer(names: Sequence[str], preferences: Sequence[str]) -> str:
    for part in preferences:
        for name in names:
            if part in name:
                return name
    return names[0] if names else ""


async def speak(target: str, voice: str, texts: Sequence[str]) -> dict[str, Samples]:
    """Synthesise each text at 16 kHz, without silence around it. Raises `VoiceFsmError` when the server cannot."""
    spoken = {}
    async with grpc.aio.insecure_channel(target) as channel:
        stub = RivaSpeechSynthesisStub(channel)
        for text in texts:
            request = riva_tts.SynthesizeSpeechRequest(
                text=text,
                language_code=LANGUAGE,
                encoding=riva_audio.AudioEncoding.LINEAR_PCM,
                sample_rate_hz=RATE_HZ,
                voice_name=voice,
            )
            answer = await stub.Synthesize(request, timeout=CALL_S_MAX)
            spoken[text] = trim(np.frombuffer(answer.audio, "<i2"))
    return spoken


def trim(samples: Samples) -> Samples:
    """The utterance alone, at a speaker's level. Raises `VoiceFsmError` when there is none."""
    loud = np.abs(samples.astype(np.int32))
    peak = int(loud.max(initial=0))
    audible = np.flatnonzero(loud * PEAK >= LEVEL_MIN * peak)
    if peak == 0 or not len(audible):
        raise VoiceFsmError("The TTS server answered with silence.", remedy="Choose another voice for the user.")
    cut = samples[audible[0] : audible[-1] + 1]
    return (cut * (PEAK / peak)).astype(np.int16)
