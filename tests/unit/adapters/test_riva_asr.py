"""The Riva recogniser, against a scripted Riva over loopback."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing

import grpc
import pytest

from voicefsm.adapters import channels
from voicefsm.adapters.channels import RivaChannel, RivaChannelSettings, beside
from voicefsm.adapters.riva_asr import (
    FINALIZE_SILENCE_MS,
    InsertedSilence,
    RivaAsrSettings,
    RivaRecognitionStream,
    RivaRecognizer,
    endpointing,
)
from voicefsm.errors import BackendError
from voicefsm.events import Word
from voicefsm.ports import Hypothesis, RecognitionRequest
from voicefsm.scripted import (
    EMPTY,
    ON_FORCE_EOU,
    Answer,
    AsrScript,
    At,
    Close,
    Fail,
    FallSilent,
    Result,
    ScriptedRiva,
    StopReading,
    final,
    partial,
)
from voicefsm.values import Backend

REQUEST = RecognitionRequest("en-US", silence_ms=500)
FRAME = bytes(32 * 20)


def recognizer(riva: ScriptedRiva, settings: RivaAsrSettings | None = None) -> RivaRecognizer:
    return RivaRecognizer(settings or RivaAsrSettings(), RivaChannelSettings(target=riva.target))


def speak(stream: RivaRecognitionStream, ms: int) -> None:
    for _ in range(ms // 20):
        stream.send(FRAME)


async def hear(script: AsrScript, ms: int = 400) -> list[Hypothesis]:
    """Everything heard in `ms` of audio."""
    async with ScriptedRiva(asr=script) as riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        speak(stream, ms)
        return [hypothesis async for hypothesis in stream]


async def test_hypotheses_come_stripped_and_once() -> None:
    """Otherwise the client sees every partial flicker, and texts with the spaces of Riva's joins."""
    script = AsrScript(
        [
            (At(80), partial("hel")),
            (At(80), partial("hel")),
            (At(80), EMPTY),
            (At(160), partial("hello", stability=1.0)),
            (At(160), partial("hello", stability=1.0)),
            (At(240), final("Hello.")),
            (At(320), final("There.")),
            (At(320), partial("")),
            (At(400), final("")),
            (At(400), Close()),
        ]
    )
    assert [(h.text, h.is_final, round(h.stability, 1)) for h in await hear(script)] == [
        ("hel", False, 0.1),
        ("hello", False, 1.0),
        ("Hello.", True, 1.0),
        ("There.", True, 1.0),
        ("", True, 1.0),
    ]


async def test_results_of_one_response_are_joined() -> None:
    """Otherwise half of an utterance is taken for all of it."""
    both = Answer((Result("good", is_final=True, stability=1.0), Result("mor", stability=0.9), Result("ning", stability=0.2)))
    heard = await hear(AsrScript([(At(80), both), (At(80), Close())]))
    assert [(h.text, h.is_final, round(h.stability, 1)) for h in heard] == [("good", True, 1.0), ("mor ning", False, 0.2)]


async def test_word_times_leave_out_the_silence_of_finalize() -> None:
    """Otherwise words drift away from the audio with every turn, and the heard text with them."""
    late = final("late", ("late", 400 + FINALIZE_SILENCE_MS, 480 + FINALIZE_SILENCE_MS))
    script = AsrScript([(ON_FORCE_EOU, final("one", ("one", 100, 200))), (ON_FORCE_EOU, late), (At(1000), Close())])
    async with ScriptedRiva(asr=script) as riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        for ms in (400, 200, 400):
            speak(stream, ms)
            stream.finalize()
        assert [h.words async for h in stream] == [(Word("one", 100, 200),), (Word("late", 400, 480),)]


async def test_audio_arrives_whole_and_coalesced() -> None:
    """Otherwise words are lost at chunk borders, or each frame costs a message."""
    riva = ScriptedRiva(asr=AsrScript([(ON_FORCE_EOU, final("done")), (ON_FORCE_EOU, Close())], records_audio=True))
    frames = [bytes([k]) * 640 for k in range(5)]
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        for frame in frames:
            stream.send(frame)
        stream.finalize()
        stream.finalize()
        assert [h async for h in stream] == [Hypothesis("done", is_final=True, stability=1.0)]
        assert bytes(riva.asr.stream.audio) == b"".join(frames) + bytes(2 * FINALIZE_SILENCE_MS * 32)
        assert riva.asr.stream.messages == 4  # 80 + 20 ms, and the silences


async def test_frames_that_cannot_wait_do_not() -> None:
    """Otherwise the last word of a turn waits for a chunk to fill, which it does only with the next turn."""
    riva = ScriptedRiva(asr=AsrScript([(At(140), Close())]))
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        speak(stream, 100)
        stream.send(FRAME, at_once=True)
        stream.send(FRAME, at_once=True)
        assert [h async for h in stream] == []
        assert riva.asr.stream.messages == 3


async def test_quiet_goes_in_longer_messages_and_the_first_of_speech_takes_it_with_it() -> None:
    """Otherwise silence costs as much as speech; or what was quiet holds the first word up."""
    riva = ScriptedRiva(asr=AsrScript([(At(440), Close())]))
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        for _ in range(9):  # 160 ms, and 20 that wait
            stream.send(FRAME, is_quiet=True)
        stream.send(FRAME)
        for _ in range(4):
            stream.send(FRAME)
        for _ in range(8):
            stream.send(FRAME, is_quiet=True)
        assert [h async for h in stream] == []
        assert riva.asr.stream.messages == 4


async def test_hypotheses_say_how_far_the_server_has_come() -> None:
    """Otherwise nobody knows what has to be heard again when the stream is lost."""
    script = AsrScript([(At(160), partial("hel")), (ON_FORCE_EOU, final("hello")), (At(480), Close())])
    async with ScriptedRiva(asr=script) as riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        speak(stream, 160)
        heard = aiter(stream)
        assert (await anext(heard)).audio_ms == 160
        stream.finalize()
        assert (await anext(heard)).audio_ms == 160, "silence of our own is no audio"
        speak(stream, 320)
        assert await anext(heard, None) is None


async def test_no_more_audio_is_told_and_the_rest_comes() -> None:
    """Otherwise a stream that is replaced takes its last words along."""
    riva = ScriptedRiva(asr=AsrScript([(At(100), final("bye"))]))
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        speak(stream, 100)
        stream.finish()
        assert [h.text async for h in stream] == ["bye"]
        assert not riva.asr.stream.is_cancelled


async def test_room_is_waited_for_and_a_dead_stream_has_room() -> None:
    """Otherwise what a new stream has to catch up on overflows it, or a replay into a dead one never ends."""
    riva = ScriptedRiva(asr=AsrScript([(At(0), StopReading())]))
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        speak(stream, 4000)
        await stream.room()
        assert stream._outbox_bytes <= 32 * 1000
        riva.asr.stream.act(Close())
        await riva.stop()
        with pytest.raises(BackendError):
            await anext(aiter(stream))
        await stream.room()


async def test_configuration_says_what_the_settings_say() -> None:
    """Otherwise a setting is a wish."""
    settings = RivaAsrSettings(model="m", boosted_phrases=("voice fsm",), custom_configuration=("apply_partial_itn:true",))
    async with ScriptedRiva() as riva, aclosing(recognizer(riva, settings)) as asr, asr.open(REQUEST):
        sent = riva.asr.stream.config
    config = sent.config
    assert sent.interim_results
    assert (config.model, config.language_code, config.sample_rate_hertz, config.audio_channel_count) == ("m", "en-US", 16000, 1)
    assert (config.endpointing_config.stop_history, config.endpointing_config.stop_history_eou) == (480, 240)
    assert (config.enable_automatic_punctuation, config.enable_word_time_offsets) == (True, True)
    assert list(config.speech_contexts[0].phrases) == ["voice fsm"]
    assert dict(config.custom_configuration) == {"apply_partial_itn": "true"}


@pytest.mark.parametrize(
    ("silence_ms", "first_pass_ms", "stop", "eou"),
    [(500, 240, 480, 240), (100, 240, 80, 0), (159, 79, 80, 0), (800, 900, 800, 720)],
)
def test_endpointing_windows_are_in_steps_and_in_order(silence_ms: int, first_pass_ms: int, stop: int, eou: int) -> None:
    """Otherwise Riva refuses the configuration, or announces the end after it."""
    config = endpointing(silence_ms, first_pass_ms)
    assert (config.stop_history, config.stop_history_eou) == (stop, eou)
    assert config.HasField("stop_history_eou") is (eou > 0)


async def test_nobody_there_is_said_on_entering() -> None:
    """Otherwise a session opens on a recogniser that does not exist."""
    async with aclosing(RivaRecognizer(RivaAsrSettings(), RivaChannelSettings(target="127.0.0.1:1"))) as asr:
        with pytest.raises(BackendError, match=r"127\.0\.0\.1:1 .*UNAVAILABLE.*`voicefsm doctor`") as caught:
            async with asr.open(REQUEST):
                pass
        assert caught.value.retryable


async def test_server_that_accepts_and_says_nothing_is_given_up_on_entering() -> None:
    """Otherwise opening a session hangs on a port with something else behind it."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts, and nobody reads
        target = f"127.0.0.1:{server.getsockname()[1]}"
        async with aclosing(RivaRecognizer(RivaAsrSettings(), RivaChannelSettings(target=target, open_ms_max=100))) as asr:
            with pytest.raises(BackendError, match="could not be reached within 100 ms"):
                async with asr.open(REQUEST):
                    pass


async def test_refused_language_is_said_on_entering_and_final() -> None:
    """Otherwise the session retries for ever what cannot work."""
    async with ScriptedRiva() as riva, aclosing(recognizer(riva, RivaAsrSettings(refusal_ms_max=2000))) as asr:
        with pytest.raises(BackendError, match=r"Unavailable model requested.*language_code=xx-XX") as caught:
            async with asr.open(RecognitionRequest("xx-XX", silence_ms=500)):
                pass
        assert not caught.value.retryable


async def test_server_that_closes_at_once_is_a_failure_that_passes() -> None:
    """Otherwise a server that is about to restart ends every session that opens with a KeyError."""
    riva = ScriptedRiva(asr=AsrScript([(At(0), Close())]))
    async with riva, aclosing(recognizer(riva, RivaAsrSettings(refusal_ms_max=2000))) as asr:
        with pytest.raises(BackendError, match="closed the stream") as caught:
            async with asr.open(REQUEST):
                pass
        assert caught.value.retryable


@pytest.mark.parametrize("known", [channels._VERDICTS, {}])
def test_every_status_has_a_meaning(known: dict[grpc.StatusCode, tuple[bool, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the failure that nobody thought of is a crash."""
    monkeypatch.setattr(channels, "_VERDICTS", known)
    channel = RivaChannel(Backend.ASR, RivaChannelSettings())
    for code in grpc.StatusCode:
        error = channel.failed(code, None)
        assert error.message.startswith("Riva ASR at 127.0.0.1:50051")
        assert "{" not in error.remedy


@pytest.mark.parametrize(
    ("code", "details", "retryable"),
    [
        (grpc.StatusCode.UNKNOWN, "Error: Triton model failed during inference.", True),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "full", True),
        (grpc.StatusCode.INVALID_ARGUMENT, "request must specify the START flag on the first request of the sequence", True),
        (grpc.StatusCode.INVALID_ARGUMENT, "Only mono audio supported.", False),
        (grpc.StatusCode.UNKNOWN, "Error: Unavailable model requested given these parameters", False),
        (grpc.StatusCode.UNAUTHENTICATED, "no", False),
    ],
)
async def test_status_says_whether_to_try_again(code: grpc.StatusCode, details: str, retryable: bool) -> None:
    """Otherwise a passing fault ends a session, or a lasting one is retried for ever."""
    with pytest.raises(BackendError, match=details) as caught:
        await hear(AsrScript([(At(80), Fail(code, details))]))
    assert caught.value.retryable is retryable
    assert caught.value.remedy


async def test_outage_breaks_the_stream_and_the_next_one_works() -> None:
    """Otherwise a recogniser that restarts ends every session, or is never found again."""
    async with ScriptedRiva(asr=AsrScript([(At(80), partial("hel"))])) as riva, aclosing(recognizer(riva)) as asr:
        async with asr.open(REQUEST) as stream:
            speak(stream, 80)
            heard = aiter(stream)
            await anext(heard)
            await riva.stop()
            with pytest.raises(BackendError) as caught:
                await anext(heard)
            assert caught.value.retryable
        await riva.start()
        async with asyncio.timeout(10):
            while not await _hears(asr):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def _hears(asr: RivaRecognizer) -> bool:
    try:
        async with asr.open(REQUEST) as stream:
            speak(stream, 80)
            return (await anext(aiter(stream))).text == "hel"
    except BackendError:
        return False


async def test_status_that_grpc_loses_is_a_dead_stream_like_any_other() -> None:
    """Otherwise a client that writes in the moment in which the server aborts gets an INTERNAL that is gRPC's own, and gives up."""
    told = set()
    script = AsrScript([(At(40), Fail(grpc.StatusCode.UNAVAILABLE, "Going."))])
    async with ScriptedRiva(asr=script) as riva, aclosing(recognizer(riva)) as asr:
        for _ in range(50):
            with pytest.raises(BackendError) as caught:
                await _shout(asr)
            assert caught.value.retryable
            told.add(caught.value.message.partition(" answered ")[2])
    assert told <= {"UNAVAILABLE: Going.", "INTERNAL: Internal error from Core."}, told
    lost = RivaChannel(Backend.ASR, RivaChannelSettings()).failed(grpc.StatusCode.INTERNAL, "Internal error from Core")
    assert lost.retryable


async def _shout(asr: RivaRecognizer) -> None:
    """Write all the time, until the stream ends."""
    async with asr.open(REQUEST) as stream, beside(_write_on(stream)):
        async for _ in stream:
            pass


async def _write_on(stream: RivaRecognitionStream) -> None:
    while True:
        stream.send(FRAME, at_once=True)
        await asyncio.sleep(0.001)


async def test_frozen_server_overflows_loudly() -> None:
    """Otherwise the user speaks into a void and nobody learns it."""
    riva = ScriptedRiva(asr=AsrScript([(At(0), StopReading())]))
    async with riva, aclosing(recognizer(riva, RivaAsrSettings(buffer_ms_max=1000))) as asr, asr.open(REQUEST) as stream:
        speak(stream, 1100)  # no await in between: the writer never runs, as with a peer that takes nothing
        with pytest.raises(BackendError, match=r"did not take 10[0-9]{2} ms of audio"):
            await anext(aiter(stream))


async def test_silent_server_is_noticed_while_audio_flows() -> None:
    """Otherwise a stale stream takes audio for ever and no turn comes of it."""
    riva = ScriptedRiva(asr=AsrScript([(At(800), FallSilent())]))
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:

        async def talk() -> None:
            while True:
                stream.send(FRAME)
                await asyncio.sleep(0.02)

        talking = asyncio.create_task(talk())
        with pytest.raises(BackendError, match=r"answered nothing for [6-9]\d\d ms although audio flows") as caught:
            await anext(aiter(stream))
        talking.cancel()
        assert caught.value.retryable


async def test_audio_after_the_end_harms_nobody() -> None:
    """Otherwise the frame that crosses the server's goodbye kills the session (grpc.aio raises InvalidStateError there)."""
    riva = ScriptedRiva(asr=AsrScript([(At(80), Close())]))
    async with riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        speak(stream, 80)
        assert [h async for h in stream] == []
        speak(stream, 400)
        await asyncio.sleep(0.02)
        stream.finalize()
        assert [h async for h in stream] == []


async def test_leaving_cancels_the_call_and_ends_the_reader() -> None:
    """Otherwise every closed session leaves a stream on the server, or a reader that hangs."""
    async with ScriptedRiva() as riva, aclosing(recognizer(riva)) as asr:
        async with asr.open(REQUEST) as stream:
            reader = asyncio.create_task(anext(aiter(stream), None))
            speak(stream, 200)
            await asyncio.sleep(0.02)
        assert await reader is None
        await riva.asr.stream.closed.wait()
        assert riva.asr.stream.is_cancelled


async def test_cancelled_reader_stays_cancelled() -> None:
    """Otherwise a session that is torn down goes on reading."""
    async with ScriptedRiva() as riva, aclosing(recognizer(riva)) as asr, asr.open(REQUEST) as stream:
        reader = asyncio.create_task(anext(aiter(stream), None))
        await asyncio.sleep(0.02)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader


async def test_what_the_body_raises_arrives_as_it_is() -> None:
    """Otherwise every `except BackendError` above the adapter misses its error inside a group."""
    async with ScriptedRiva() as riva, aclosing(recognizer(riva)) as asr:
        with pytest.raises(ZeroDivisionError):
            async with asr.open(REQUEST):
                raise ZeroDivisionError


async def test_languages_are_those_of_all_streaming_models() -> None:
    """Otherwise admission refuses a language the server has."""
    models = (("small", "en-US"), ("multi", "en-US, hi-IN,de-DE"))
    async with ScriptedRiva(asr=AsrScript(models=models)) as riva, aclosing(recognizer(riva)) as asr:
        assert await asr.languages() == {"en-US", "hi-IN", "de-DE"}
        assert (await asr.models())["small"] == {"en-US"}


async def test_ready_knows_the_model_that_is_asked_for() -> None:
    """Otherwise a gateway takes callers whom its recogniser refuses one by one, for ever."""
    async with ScriptedRiva(asr=AsrScript(models=(("small", "en-US"), ("multi", "en-US,hi-IN")))) as riva:
        async with aclosing(recognizer(riva, RivaAsrSettings(model="small"))) as asr:
            await asr.ready()
        async with aclosing(recognizer(riva, RivaAsrSettings(model="other"))) as asr:
            with pytest.raises(BackendError, match=r"has no streaming model 'other'. It has: multi, small.") as caught:
                await asr.ready()
            assert not caught.value.retryable


async def test_listing_a_server_that_is_not_there_fails() -> None:
    """Otherwise `doctor` reports a dead server as one without languages."""
    async with aclosing(RivaRecognizer(RivaAsrSettings(), RivaChannelSettings(target="127.0.0.1:1"))) as asr:
        with pytest.raises(BackendError, match="UNAVAILABLE"):
            await asr.languages()


def test_moment_within_a_silence_is_the_moment_it_was_put_in() -> None:
    """Otherwise a word gets an end before its start."""
    silence = InsertedSilence()
    silence.insert(1000)
    silence.insert(2000)
    assert [silence.media_ms(ms) for ms in (900, 1000, 1040, 1080, 1500, 2040, 2500)] == [900, 1000, 1000, 1000, 1420, 1920, 2340]
