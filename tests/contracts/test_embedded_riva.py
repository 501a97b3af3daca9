"""The embedded speech server as a real process, and NVIDIA's own unmodified client in front of it: what Riva does, it does."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
import riva.client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from riva.client.proto import riva_asr_pb2 as asr
from riva.client.proto import riva_asr_pb2_grpc as asr_grpc
from riva.client.proto import riva_tts_pb2 as tts
from riva.client.proto import riva_tts_pb2_grpc as tts_grpc

RATE_HZ = 16000
CHUNK_MS = 80
"""The server's own chunk."""
CALL_S_MAX = 60
VOICE = "espeak-ng-en-US.Female-1"
SENTENCE = "Tell me a long story please."
HEARD = "tell me a long story please"
SERVE = """
import asyncio, json, sys
from voicefsm.embedded import EmbeddedSettings, serve
asyncio.run(serve(EmbeddedSettings(riva_port=0, llm_port=0, **json.loads(sys.argv[1]))))
"""


@contextmanager
def serving(**settings: object) -> Iterator[str]:
    """HOST:PORT of a server of its own."""
    with subprocess.Popen([sys.executable, "-c", SERVE, json.dumps(settings)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            riva_line, _, ready = (process.stdout.readline() for _ in range(3))
            assert ready == "voicefsm embedded: ready\n"
            yield riva_line.split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with serving(asr_streams_max=2, asr_idle_ms_max=1500) as address:
        yield address


@pytest.fixture(scope="module")
def auth(target) -> riva.client.Auth:
    return riva.client.Auth(uri=target, use_ssl=False)


@pytest.fixture(scope="module")
def recognizer(auth) -> riva.client.ASRService:
    return riva.client.ASRService(auth)


@pytest.fixture(scope="module")
def synthesizer(auth) -> riva.client.SpeechSynthesisService:
    return riva.client.SpeechSynthesisService(auth)


@pytest.fixture(scope="module")
def speech(synthesizer, recognizer) -> bytes:
    """The sentence, spoken, with silence around it, in whole chunks of the server.

    espeak never says a text twice alike, and one of eight of these is heard as "daily a long story please". How well the voice is
    understood is not what the tests of the protocol ask, hence the first that is.
    """
    for _ in range(20):
        spoken: bytes = synthesizer.synthesize(SENTENCE, voice_name=VOICE, sample_rate_hz=RATE_HZ).audio
        audio = silence(800) + spoken + silence(1600)
        audio += bytes(-len(audio) % (32 * CHUNK_MS))
        if finals(recognizer.streaming_response_generator(chunks(audio), streaming())) == [HEARD]:
            return audio
    pytest.fail(f"the recogniser heard nobody say {HEARD!r} in twenty attempts")


def silence(ms: int) -> bytes:
    return bytes(np.random.default_rng(0).normal(0, 8, ms * 16).astype("<i2"))


def chunks(audio: bytes, ms: int = CHUNK_MS) -> list[bytes]:
    return [audio[begin : begin + 32 * ms] for begin in range(0, len(audio), 32 * ms)]


def recognition(**fields: object) -> asr.RecognitionConfig:
    defaults = {"encoding": riva.client.AudioEncoding.LINEAR_PCM, "sample_rate_hertz": RATE_HZ, "language_code": "en-US"}
    return asr.RecognitionConfig(**(defaults | fields))


def streaming(*, interim: bool = True, **fields: object) -> asr.StreamingRecognitionConfig:
    return asr.StreamingRecognitionConfig(config=recognition(**fields), interim_results=interim)


def heard(responses: Iterable[asr.StreamingRecognizeResponse]) -> list[asr.StreamingRecognitionResult]:
    return [result for response in responses for result in response.results]


def finals(responses: Iterable[asr.StreamingRecognizeResponse]) -> list[str]:
    return [result.alternatives[0].transcript for result in heard(responses) if result.is_final]


def talk(auth: riva.client.Auth, requests: Iterable[asr.StreamingRecognizeRequest]) -> list[asr.StreamingRecognizeResponse]:
    """All answers to messages that riva.client's helper would not send."""
    return list(asr_grpc.RivaSpeechRecognitionStub(auth.channel).StreamingRecognize(iter(requests), timeout=CALL_S_MAX))


def refusal(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


# --- recognition -------------------------------------------------------------------------------------------------------------


def test_every_chunk_is_answered_and_the_text_comes(recognizer, speech):
    """Otherwise the gateway's heartbeat takes us for dead. One more answer may follow the half-close."""
    sent = chunks(speech)
    responses = list(recognizer.streaming_response_generator(sent, streaming(interim=True)))
    assert len(sent) <= len(responses) <= len(sent) + 1
    assert finals(responses) == [HEARD]
    stabilities = [result.stability for result in heard(responses) if not result.is_final]
    assert stabilities.count(1.0) >= 1
    assert stabilities[-1] == 1.0
    assert all(stability < 1.0 for stability in stabilities[: stabilities.index(1.0)])
    first_pass = [result for result in heard(responses) if not result.is_final][-1]
    assert first_pass.alternatives[0].transcript == HEARD


def test_audio_processed_counts_every_sample_once(recognizer, speech):
    """Otherwise the gateway's replay after a lost connection repeats or loses words."""
    processed = [result.audio_processed for result in heard(recognizer.streaming_response_generator(chunks(speech), streaming()))]
    assert processed == sorted(processed)
    assert processed[-1] <= len(speech) / 2 / RATE_HZ
    assert all(round(1000 * seconds) % CHUNK_MS == 0 for seconds in processed)


@pytest.mark.parametrize("ms", [20, 100, 5000])
def test_the_client_s_chunks_do_not_matter(recognizer, speech, ms):
    """Otherwise a client with other chunks, or a replay faster than real time, gets another text."""
    assert finals(recognizer.streaming_response_generator(chunks(speech, ms), streaming())) == [HEARD]


def test_without_interim_results_there_are_finals_only(recognizer, speech):
    """Otherwise a transcript holds everything twice."""
    responses = list(recognizer.streaming_response_generator(chunks(speech), streaming(interim=False)))
    assert all(result.is_final for result in heard(responses))
    assert len(responses) >= len(chunks(speech))


def test_words_stand_in_finals_only_and_in_milliseconds(recognizer, speech):
    """Otherwise captions and echo decisions look at the wrong moment."""
    results = heard(recognizer.streaming_response_generator(chunks(speech), streaming(enable_word_time_offsets=True)))
    assert not any(result.alternatives[0].words for result in results if not result.is_final)
    (words,) = [result.alternatives[0].words for result in results if result.is_final]
    assert [word.word for word in words] == HEARD.split()
    edges = [edge for word in words for edge in (word.start_time, word.end_time)]
    assert edges == sorted(edges)
    assert 700 <= edges[0] <= 1200
    assert edges[-1] <= len(speech) // 32


def test_after_the_first_final_every_text_begins_with_a_blank(recognizer, speech):
    """Otherwise clients that join the texts join words."""
    texts = [r.alternatives[0].transcript for r in heard(recognizer.streaming_response_generator(chunks(speech * 2), streaming()))]
    first_final = texts.index(HEARD)
    assert not any(text.startswith(" ") for text in texts[: first_final + 1])
    later = [text for text in texts[first_final:] if text != texts[first_final]]
    assert later
    assert all(text.startswith(" ") for text in later)
    assert texts[-1] == " " + HEARD


def test_force_eou_finalises_at_once_and_the_stream_goes_on(auth, speech):
    """Otherwise the gateway's own end of turn waits for ours."""
    voice = speech[: -32 * 1600]
    end = asr.EndpointingConfig(stop_history=8000, stop_history_eou=8000)

    def requests() -> Iterator[asr.StreamingRecognizeRequest]:
        yield asr.StreamingRecognizeRequest(streaming_config=streaming(endpointing_config=end))
        for _ in range(2):
            for chunk in chunks(voice):
                yield asr.StreamingRecognizeRequest(audio_content=chunk)
            yield asr.StreamingRecognizeRequest(audio_content=silence(80), runtime_config={"force_eou": "true"})
        for chunk in chunks(silence(400)):
            yield asr.StreamingRecognizeRequest(audio_content=chunk)
        yield asr.StreamingRecognizeRequest(runtime_config={"force_eou": "true"})

    assert [text.strip() for text in finals(talk(auth, requests()))] == [HEARD] * 2


def test_stop_history_decides_how_long_silence_is(recognizer, speech):
    """Otherwise the gateway's endpointing setting has no effect."""
    long = asr.EndpointingConfig(stop_history=4000)
    short = asr.EndpointingConfig(stop_history=400)
    ends = [
        next(
            r.audio_processed
            for r in heard(recognizer.streaming_response_generator(chunks(speech), streaming(endpointing_config=c)))
            if r.is_final
        )
        for c in (short, long)
    ]
    assert ends[1] == pytest.approx(len(speech) / 2 / RATE_HZ, abs=0.09)  # only the half-close ended it
    assert ends[1] - ends[0] > 0.5


def test_half_close_flushes_what_is_open(recognizer, speech):
    """Otherwise the last words of a recording are lost."""
    assert finals(recognizer.streaming_response_generator(chunks(speech[: -32 * 1600]), streaming())) == [HEARD]


def test_silence_ends_with_an_empty_final(recognizer):
    """Otherwise a client that waits for a final waits for ever; Riva sends one."""
    assert finals(recognizer.streaming_response_generator(chunks(silence(1000)), streaming())) == [""]


def test_the_id_is_echoed(auth):
    """Otherwise answers cannot be told apart in a log."""
    first = asr.StreamingRecognizeRequest(streaming_config=streaming(), id={"value": "a7"})
    assert {
        r.id.value for r in talk(auth, [first, *(asr.StreamingRecognizeRequest(audio_content=c) for c in chunks(silence(240)))])
    } == {"a7"}


@pytest.mark.parametrize(
    ("rate_hz", "encoding"),
    [(8000, "LINEAR_PCM"), (8000, "MULAW"), (8000, "ALAW"), (22050, "LINEAR_PCM"), (44100, "LINEAR_PCM"), (48000, "LINEAR_PCM")],
)
def test_rates_and_encodings(recognizer, synthesizer, rate_hz, encoding):
    """Otherwise telephone and studio clients hear nonsense. At 8 kHz half of the sound is missing, and few words are certain."""
    samples = np.frombuffer(synthesizer.synthesize(SENTENCE, voice_name=VOICE, sample_rate_hz=rate_hz).audio, "<i2")
    audio, config = (
        CODERS[encoding](samples),
        streaming(sample_rate_hertz=rate_hz, encoding=riva.client.AudioEncoding.Value(encoding)),
    )
    messages = [audio[begin : begin + 1999] for begin in range(0, len(audio), 1999)]
    results = [r for r in heard(recognizer.streaming_response_generator(messages, config)) if r.is_final]
    assert results[-1].audio_processed == pytest.approx(len(samples) / rate_hz, abs=0.09)
    text = " ".join(result.alternatives[0].transcript for result in results)
    assert "story" in text if rate_hz >= RATE_HZ else text.split()


def to_mulaw(samples: np.ndarray) -> bytes:
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    code = (np.where(samples < 0, 0x80, 0) | exponent << 4 | magnitude >> exponent + 3 & 0x0F) ^ 0xFF
    return bytes(code.astype(np.uint8))


def to_alaw(samples: np.ndarray) -> bytes:
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32767)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 7, 0)
    mantissa = magnitude >> np.maximum(exponent, 1) + 3 & 0x0F
    return bytes(((np.where(samples >= 0, 0x80, 0) | exponent << 4 | mantissa) ^ 0x55).astype(np.uint8))


CODERS: dict[str, Callable[[np.ndarray], bytes]] = {"LINEAR_PCM": bytes, "MULAW": to_mulaw, "ALAW": to_alaw}


def test_offline_recognition(recognizer, speech):
    """Otherwise `transcribe_file_offline` does not work."""
    response = recognizer.offline_recognize(speech, recognition(enable_word_time_offsets=True))
    assert [result.alternatives[0].transcript for result in response.results] == [HEARD]
    assert len(response.results[0].alternatives[0].words) == 6
    assert response.results[0].audio_processed == pytest.approx(len(speech) / 2 / RATE_HZ, abs=0.001)


def test_phrases_bias_their_own_stream(recognizer, synthesizer):
    """Otherwise `speech_contexts` is decoration."""
    spoken = synthesizer.synthesize("My zebra likes broccoli.", voice_name=VOICE, sample_rate_hz=RATE_HZ).audio
    audio, biased = silence(500) + spoken + silence(1200), streaming()
    riva.client.add_word_boosting_to_config(biased, ["my zebra likes broccoli"], 20.0)
    texts = [
        " ".join(finals(recognizer.streaming_response_generator(chunks(audio), c))) for c in (streaming(), biased, streaming())
    ]
    assert ["my zebra likes broccoli" in text for text in texts] == [False, True, False]


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (streaming(language_code="xx-XX"), "Unavailable model requested given these parameters: language_code=xx-XX; type=online;"),
        (streaming(model="no-such-model"), "Unavailable model requested given these parameters"),
        (streaming(audio_channel_count=2), "Only mono audio supported."),
        (streaming(sample_rate_hertz=4000), "sample_rate_hertz"),
        (streaming(encoding=riva.client.AudioEncoding.FLAC), "encoding"),
        (streaming(speech_contexts=[asr.SpeechContext(phrases=["x"] * 501)]), "501 phrases"),
    ],
)
def test_what_cannot_be_is_refused(recognizer, config, what):
    """Otherwise a typing error is heard as silence."""
    error = refusal(lambda: list(recognizer.streaming_response_generator(chunks(silence(80)), config)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert what in error.details()


@pytest.mark.parametrize(
    ("requests", "what"),
    [
        ([], "no messages received"),
        ([asr.StreamingRecognizeRequest(audio_content=bytes(320))], "first message must contain streaming_config"),
        ([asr.StreamingRecognizeRequest(streaming_config=streaming())] * 2, "streaming_config was already received"),
    ],
)
def test_messages_out_of_order_are_refused(auth, requests, what):
    """Otherwise a client's defect shows as bad recognition."""
    error = refusal(lambda: talk(auth, requests))
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, what)


def test_an_idle_stream_is_dead_and_says_so_in_riva_s_words(auth):
    """Otherwise the gateway's reopening is never seen to work before production."""

    def requests() -> Iterator[asr.StreamingRecognizeRequest]:
        yield asr.StreamingRecognizeRequest(streaming_config=streaming())
        yield asr.StreamingRecognizeRequest(audio_content=silence(80))
        time.sleep(2.0)  # longer than asr_idle_ms_max of this server
        yield asr.StreamingRecognizeRequest(audio_content=silence(80))
        time.sleep(CALL_S_MAX)

    error = refusal(lambda: talk(auth, requests()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "must specify the START flag on the first request of the sequence" in error.details()


def test_a_full_house_is_resource_exhausted_and_empties_again(auth, recognizer):
    """Otherwise one stream too many slows all others, or a closed stream keeps its place."""
    stub = asr_grpc.RivaSpeechRecognitionStub(auth.channel)
    first = asr.StreamingRecognizeRequest(streaming_config=streaming())

    def endless() -> Iterator[asr.StreamingRecognizeRequest]:
        yield first
        while True:
            yield asr.StreamingRecognizeRequest(audio_content=silence(80))
            time.sleep(0.05)

    calls = [stub.StreamingRecognize(endless()) for _ in range(2)]
    for call in calls:
        next(call)
    error = refusal(lambda: talk(auth, [first]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "asr_streams_max" in error.details()
    for call in calls:
        call.cancel()
    assert any(is_free(recognizer) for _ in range(200))


def is_free(recognizer: riva.client.ASRService) -> bool:
    """Whether a stream gets a place; a moment later if not."""
    with contextlib.suppress(grpc.RpcError):
        return finals(recognizer.streaming_response_generator(chunks(silence(160)), streaming())) == [""]
    time.sleep(0.05)
    return False


def test_the_models_are_listed(auth):
    """Otherwise `doctor` and other clients cannot see what is here."""
    stub = asr_grpc.RivaSpeechRecognitionStub(auth.channel)
    models = stub.GetRivaSpeechRecognitionConfig(asr.RivaSpeechRecognitionConfigRequest()).model_config
    assert [model.parameters["type"] for model in models] == ["online", "offline"]
    assert all(model.parameters["language_code"] == "en-US" for model in models)
    assert not stub.GetRivaSpeechRecognitionConfig(asr.RivaSpeechRecognitionConfigRequest(model_name="x")).model_config
    talk(auth, [asr.StreamingRecognizeRequest(streaming_config=streaming(model=models[0].model_name))])


# --- synthesis ---------------------------------------------------------------------------------------------------------------


def request(text: str, number: int = 0, **fields: object) -> tts.SynthesizeSpeechRequest:
    defaults = {"language_code": "en-US", "sample_rate_hz": RATE_HZ, "encoding": riva.client.AudioEncoding.LINEAR_PCM}
    return tts.SynthesizeSpeechRequest(text=text, id={"value": str(number)}, **(defaults | fields))


def test_synthesize_and_what_is_spoken_is_heard(synthesizer, recognizer):
    """Otherwise the demo cannot hold a conversation with itself. In-domain sentences, an espeak-ng voice."""
    sentences = ("Hello, can you hear me?", "What was the last thing you told me?", "Please count to twenty.")
    heard_words = []
    for sentence in sentences:
        audio = silence(400) + synthesizer.synthesize(sentence, voice_name=VOICE, sample_rate_hz=RATE_HZ).audio + silence(1200)
        heard_words += " ".join(finals(recognizer.streaming_response_generator(chunks(audio), streaming()))).split()
    said = re.sub(r"[^\w\s]", "", " ".join(sentences)).lower().split()
    assert sum(word in heard_words for word in said) >= 0.8 * len(said)


@pytest.mark.parametrize("texts", [SENTENCE, [SENTENCE, "And now this."]])
def test_synthesize_online(synthesizer, texts):
    """Otherwise riva.client's streaming helper does not work."""
    responses = list(synthesizer.synthesize_online(texts, voice_name=VOICE, sample_rate_hz=22050))
    assert len(responses) > 5
    assert [text for text, _ in itertools.groupby(r.meta.text for r in responses)] == ([texts] if isinstance(texts, str) else texts)
    assert len(b"".join(r.audio for r in responses)) > 22050


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
def test_any_rate_gives_the_same_length(synthesizer, rate_hz):
    """Otherwise the voice is high, low, or ends early."""
    expected = len(synthesizer.synthesize(SENTENCE, sample_rate_hz=16000).audio) / 16000
    assert len(synthesizer.synthesize(SENTENCE, sample_rate_hz=rate_hz).audio) / rate_hz == pytest.approx(expected, rel=0.02)


def test_texts_are_spoken_in_order_each_with_its_id_and_words(auth):
    """Otherwise the gateway cannot tell what was heard when it is interrupted."""
    texts = ["One, two.", "Three, four.", "Five, six."]
    requests = (request(text, number, enable_word_time_offsets=True) for number, text in enumerate(texts))
    responses = list(tts_grpc.RivaSpeechSynthesisStub(auth.channel).SynthesizeOnline(requests, timeout=CALL_S_MAX))
    assert [number for number, _ in itertools.groupby(r.id.value for r in responses)] == ["0", "1", "2"]
    for number, text in enumerate(texts):
        mine = [r for r in responses if r.id.value == str(number)]
        words = [word for r in mine for word in r.meta.words]
        assert [word.word for word in words] == text.split()
        assert 0 <= words[0].start_time < words[0].end_time <= words[1].start_time < words[1].end_time
        assert words[1].end_time <= sum(len(r.audio) for r in mine) / 32


def test_audio_begins_while_the_client_still_writes(auth):
    """Otherwise a reply is heard only when the language model has finished it."""
    is_heard = False

    def requests() -> Iterator[tts.SynthesizeSpeechRequest]:
        yield request("One.")
        deadline = time.monotonic() + CALL_S_MAX
        while not is_heard and time.monotonic() < deadline:
            time.sleep(0.01)
        yield request("Two.", 1)

    call = tts_grpc.RivaSpeechSynthesisStub(auth.channel).SynthesizeOnline(requests(), timeout=2 * CALL_S_MAX)
    assert next(call).id.value == "0"
    is_heard = True
    assert [response.id.value for response in call][-1] == "1"


def test_cancel_is_no_harm(auth, synthesizer):
    """Otherwise an interruption costs the server, or the next reply waits for the rest of the last."""
    before = len(synthesizer.synthesize(SENTENCE, sample_rate_hz=RATE_HZ).audio)
    for _ in range(20):
        call = tts_grpc.RivaSpeechSynthesisStub(auth.channel).SynthesizeOnline(iter([request("A very long text. " * 100)]))
        next(call)
        call.cancel()
    assert len(synthesizer.synthesize(SENTENCE, sample_rate_hz=RATE_HZ).audio) == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("text", ["", "…", "?!"])
def test_a_text_without_a_word_is_silence(auth, text):
    """Otherwise stray punctuation of a model is read aloud, or ends the reply with an error."""
    stub = tts_grpc.RivaSpeechSynthesisStub(auth.channel)
    responses = list(stub.SynthesizeOnline(iter([request(text), request("One.", 1)]), timeout=CALL_S_MAX))
    assert [response.audio for response in responses if response.id.value == "0"] == [b""]
    assert responses[-1].id.value == "1"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"voice_name": "Nobody"}, "Unavailable model requested given these parameters: language_code=en-US; voice_name=Nobody;"),
        ({"voice_name": VOICE.lower()}, "voice_name"),
        ({"language_code": "xx-XX"}, "language_code=xx-XX"),
        ({"sample_rate_hz": 4000}, "sample_rate_hz"),
        ({"encoding": riva.client.AudioEncoding.OGGOPUS}, "LINEAR_PCM"),
        ({"text": "x" * 2001}, "2001 characters"),
        ({"custom_dictionary": "a  b"}, "custom_dictionary"),
    ],
)
def test_what_cannot_be_spoken_is_refused(auth, fields, what):
    """Otherwise a misspelt voice is another voice, and a text that is too long is cut."""
    wanted = request(**({"text": "One."} | fields))
    stub = tts_grpc.RivaSpeechSynthesisStub(auth.channel)
    for call in (lambda: stub.Synthesize(wanted), lambda: list(stub.SynthesizeOnline(iter([wanted])))):
        error = refusal(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert what in error.details()


def test_every_listed_voice_speaks(auth, synthesizer):
    """Otherwise the list promises what is not there."""
    stub = tts_grpc.RivaSpeechSynthesisStub(auth.channel)
    models = stub.GetRivaSynthesisConfig(tts.RivaSynthesisConfigRequest()).model_config
    assert {"en-US", "en-GB", "hi-IN"} <= {model.parameters["language_code"] for model in models}
    for model in models:
        speakers = [entry.split(":")[0] for entry in model.parameters["subvoices"].split(",")]
        language = model.parameters["language_code"]
        for name in (model.parameters["voice_name"], *(f"{model.parameters['voice_name']}.{speaker}" for speaker in speakers)):
            assert len(synthesizer.synthesize("1 2 3", voice_name=name, language_code=language, sample_rate_hz=8000).audio) > 4000
    error = refusal(lambda: stub.GetRivaSynthesisConfig(tts.RivaSynthesisConfigRequest(model_name="x")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_a_pace_holds_audio_back(synthesizer):
    """Otherwise the options that imitate slower engines do nothing. What is seen is how often the client had to wait."""
    with serving(tts_pace=4.0, tts_first_chunk_ms=300, tts_chunk_ms=200) as address:
        slow = riva.client.SpeechSynthesisService(riva.client.Auth(uri=address, use_ssl=False))
        began = time.monotonic()
        arrivals = [time.monotonic() - began for _ in slow.synthesize_online("One, two, three, four, five, six, seven.")]
    assert arrivals[0] >= 0.3  # never sooner; how much later is the machine's affair
    assert arrivals[-1] - arrivals[0] >= (len(arrivals) - 2) * 0.05


# --- the process -------------------------------------------------------------------------------------------------------------


def test_health(auth):
    """Otherwise probes restart a server that works."""
    stub = health_pb2_grpc.HealthStub(auth.channel)
    for service in ("", "nvidia.riva.asr.RivaSpeechRecognition", "nvidia.riva.tts.RivaSpeechSynthesis"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
    error = refusal(lambda: stub.Check(health_pb2.HealthCheckRequest(service="x")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_a_taken_port_is_said_clearly(target):
    """Otherwise a second server starts beside the first and gets half of its calls."""
    taken = {"riva_port": int(target.rsplit(":", 1)[1]), "llm_port": 0}
    command = SERVE.replace("riva_port=0, llm_port=0, ", "")
    failed = subprocess.run(
        [sys.executable, "-c", command, json.dumps(taken)], capture_output=True, text=True, timeout=60, check=False
    )
    assert failed.returncode == 1
    assert str(taken["riva_port"]) in failed.stderr
    assert "--riva-port" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_signal_ends_it_in_the_middle_of_a_call():
    """Otherwise `serve --embedded` hangs at its end, or leaves a process behind."""
    with serving(stop_ms_max=200) as address, grpc.insecure_channel(address) as channel:
        first = asr.StreamingRecognizeRequest(streaming_config=streaming())
        call = asr_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(itertools.chain([first], _slowly()))
        next(call)
    # `serving` has seen the exit status 0.


def _slowly() -> Iterator[asr.StreamingRecognizeRequest]:
    while True:
        yield asr.StreamingRecognizeRequest(audio_content=silence(80))
        time.sleep(0.05)
