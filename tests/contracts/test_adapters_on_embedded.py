"""The real adapters on the real local engines, in a process of their own: what the ports promise, with real speech."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing

import numpy as np
import pytest

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer, RivaTtsSettings
from voicefsm.errors import BackendError
from voicefsm.ports import GenerationRequest, Message, RecognitionRequest, SpokenAudio, SynthesisRequest

SPEECH = SynthesisRequest("en-US", "", 16000)
SEGMENTS = ("Hello, can you hear me?", "This is the second sentence.")


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    target: str
    base_url: str


@pytest.fixture(scope="module")
def embedded(embedded_addresses: tuple[str, str]) -> Embedded:
    return Embedded(*embedded_addresses)


async def spoken_by(embedded: Embedded, *segments: str) -> list[SpokenAudio]:
    tts = RivaSynthesizer(RivaTtsSettings(), RivaChannelSettings(target=embedded.target))
    async with aclosing(tts), tts.open(SPEECH) as stream:
        for index, text in enumerate(segments):
            stream.speak(index, text)
        stream.finish()
        spoken = [s async for s in stream]
        assert not tts.is_piecewise
        return spoken


async def test_voice_speaks_each_segment_with_its_words(embedded: Embedded) -> None:
    """Otherwise the demo's heard text is a guess."""
    spoken = await spoken_by(embedded, *SEGMENTS)
    assert [s.index for s in spoken] == sorted(s.index for s in spoken)
    for index, text in enumerate(SEGMENTS):
        length_ms = sum(len(s.samples) for s in spoken if s.index == index) // 16
        words = [word for s in spoken if s.index == index for word in s.words]
        assert [word.text for word in words] == text.split()
        assert 0 < words[0].end_ms < words[-1].end_ms <= length_ms


async def test_left_reply_leaves_the_next_one_whole(embedded: Embedded) -> None:
    """Otherwise a barge-in spoils the reply after it."""
    tts = RivaSynthesizer(RivaTtsSettings(), RivaChannelSettings(target=embedded.target))
    async with aclosing(tts), tts.open(SPEECH) as stream:
        stream.speak(0, "a long story that nobody wants to hear to its end. " * 20)
        await anext(aiter(stream))
    lengths_ms = [sum(len(s.samples) for s in await spoken_by(embedded, SEGMENTS[0])) / 16 for _ in range(2)]
    assert lengths_ms[0] > 1000
    assert abs(lengths_ms[1] - lengths_ms[0]) < 20  # the engine itself varies by less than a millisecond


async def test_own_voice_is_recognised_and_finalised_on_demand(embedded: Embedded) -> None:
    """Otherwise the local ears do not hear the local voice, or our endpointing waits for theirs."""
    said = "Please tell me what you can do."
    speech = np.concatenate([s.samples for s in await spoken_by(embedded, said)])
    # A whole sentence at once is no audio that flows in real time: a busy machine takes longer over it than a stalled server may.
    asr = RivaRecognizer(RivaAsrSettings(stall_ms=20_000), RivaChannelSettings(target=embedded.target))
    async with aclosing(asr), asr.open(RecognitionRequest("en-US", silence_ms=3000)) as stream:
        heard = aiter(stream)
        for _ in range(2):
            stream.send(bytes(32 * 300) + speech.tobytes() + bytes(32 * 200))
            stream.finalize()
            async with asyncio.timeout(20):
                while not (hypothesis := await anext(heard)).is_final:
                    pass
            # Half of the words: espeak never says a text twice alike, and which words are lost varies with it.
            assert len(set(hypothesis.text.lower().split()) & set(said.lower().rstrip(".").split())) >= 4, hypothesis.text
            assert [w.start_ms for w in hypothesis.words] == sorted(w.start_ms for w in hypothesis.words)
        length_ms = 2 * (500 + len(speech) // 16)
        assert length_ms // 2 < hypothesis.words[-1].end_ms <= length_ms


async def test_what_is_not_offered_is_refused(embedded: Embedded) -> None:
    """Otherwise a client that asks for a language nobody has talks to a deaf server."""
    channel = RivaChannelSettings(target=embedded.target)
    asr = RivaRecognizer(RivaAsrSettings(refusal_ms_max=2000), channel)
    tts = RivaSynthesizer(RivaTtsSettings(), channel)
    async with aclosing(asr), aclosing(tts):
        assert "en-US" in await asr.languages()
        assert (await tts.voices())["en-US"]
        with pytest.raises(BackendError, match="Unavailable model requested") as caught:
            async with asr.open(RecognitionRequest("xx-XX", silence_ms=500)):
                pass
        assert not caught.value.retryable
        async with tts.open(SynthesisRequest("en-US", "Nobody", 16000)) as stream:
            stream.speak(0, "hello")
            with pytest.raises(BackendError) as caught:
                await anext(aiter(stream))
        assert not caught.value.retryable


async def test_responder_answers_and_stops(embedded: Embedded) -> None:
    """Otherwise the local conversation has nobody to talk to."""
    model = NimLanguageModel(LlmSettings(base_url=embedded.base_url))
    request = GenerationRequest((Message("user", "Tell me a long story please"),), temperature=0.0, tokens_max=300)
    async with aclosing(model):
        await model.ready()
        async with aclosing(model.stream(request)) as reply:
            pieces = [await anext(reply) for _ in range(5)]
        assert all(pieces)
        hello = GenerationRequest((Message("user", "Hello"),), temperature=0.0, tokens_max=300)
        assert "".join([str(piece) async for piece in model.stream(hello)]).strip()
