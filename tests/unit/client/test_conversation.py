"""The client against a server on loopback that speaks the real protocol."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

import grpc
import numpy as np
import pytest

from voicefsm import client
from voicefsm.client import AudioFormat, ClientSettings, Conversation, Encoding, Interruption, SessionOptions, State
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import CancelReason, Epoch

FRAME = np.full(320, 1000, np.int16)


async def drain(conversation: Conversation) -> list[Any]:
    return [event async for event in conversation]


async def test_says_what_it_wants_first(serve, ready):
    """If this fails the server refuses every client."""
    calls = []

    async def script(call):
        await ready(call)
        calls.append(call)
        await call.receive_until("end_session")

    options = SessionOptions(
        input_format=AudioFormat(Encoding.MULAW, 8000),
        output_format=AudioFormat(Encoding.PCM16, 24000),
        language_code="hi-IN",
        voice_name="v",
        system_prompt="Be brief.",
        interruption=Interruption.CLIENT_ONLY,
        barge_in_words_min=2,
        barge_in_onset_ms_min=0,
        guard_ms=300,
        decision_ms_max=900,
        vad_mode=0,
        vad_level_db_min=-45,
        vad_hangover_ms=200,
        model="m",
        temperature=0.5,
        silence_ms=700,
        push_to_talk=True,
        client_echo_cancellation=True,
    )
    async with serve(script) as target, Conversation.connect(target, options) as conversation:
        assert conversation.session.session_id == "s-1"
        assert conversation.session.limits.playout_ahead_ms_max == 200
        assert conversation.player.sample_rate_hz == 24000
    config = calls[0].config
    assert config.input_format == pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_MULAW, sample_rate_hertz=8000)
    assert config.output_format.sample_rate_hertz == 24000
    assert (config.language_code, config.voice_name, config.system_prompt) == ("hi-IN", "v", "Be brief.")
    policy = pb.InterruptionPolicy(
        mode=pb.InterruptionPolicy.MODE_CLIENT_ONLY, words_min=2, onset_ms_min=0, guard_ms=300, decision_ms_max=900
    )
    assert config.interruption == policy
    assert config.detection == pb.DetectionOptions(mode=0, level_db_min=-45, hangover_ms=200)
    assert config.endpointing == pb.EndpointingOptions(silence_ms=700, push_to_talk=True)
    assert config.generation == pb.GenerationOptions(model="m", temperature=0.5)
    assert config.client_echo_cancellation


async def test_unset_options_stay_unset(serve, ready):
    """If this fails the client overrides settings of the server nobody asked it to touch."""
    calls = []

    async def script(call):
        await ready(call)
        calls.append(call)
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target):
        pass
    config = calls[0].config
    assert not config.HasField("output_format")
    for options in (config.endpointing, config.interruption, config.generation, config.detection):
        assert options.ListFields() == []


async def test_audio_counts_samples_in_both_directions(serve, ready):
    """If this fails the echo canceller pairs the wrong samples."""
    calls = []

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=100, data=FRAME.tobytes()))
        calls.append(call)
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target) as conversation:
        await until(lambda: conversation.player.buffered_samples)
        await conversation.send_audio(FRAME)
        conversation.player.render(320)
        await conversation.send_audio(FRAME.tobytes())
        await conversation.send_audio(FRAME, capture_sample=6400, far_end_sample=7)
    sent = [r.audio for r in calls[0].received if r.WhichOneof("request") == "audio"]
    assert [(a.capture_sample, a.far_end_sample) for a in sent] == [(0, 100), (320, 420), (6400, 7)]
    assert all(a.data == FRAME.tobytes() for a in sent)


async def test_mulaw_goes_and_comes(serve, ready):
    """If this fails telephone clients hear noise."""
    got = []

    async def script(call):
        await ready(call)
        got.append((await call.receive_until("audio")).audio)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=got[0].data, last=True))
        await call.receive_until("end_session")

    options = SessionOptions(input_format=AudioFormat(Encoding.MULAW, 8000))
    async with serve(script) as target, Conversation.connect(target, options) as conversation:
        await conversation.send_audio(FRAME[:160])
        await until(lambda: conversation.player.buffered_samples)
        heard = conversation.player.render(160)
    assert len(got[0].data) == 160
    assert np.abs(heard.astype(int) - 1000).max() <= 32


async def test_orders_reach_the_player_before_anybody_looks(serve, ready):
    """If this fails the assistant talks on until the application gets round to reading its events."""

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=np.tile(FRAME, 5).tobytes()))
        await call.send(pause_playout=pb.PausePlayout(epoch=1))
        await call.receive_until("text")
        await call.send(resume_playout=pb.ResumePlayout(epoch=1))
        await call.receive_until("text")
        cancel = pb.CancelTts(epoch=1, last_valid_sample=99, reason=pb.CancelTts.REASON_BARGE_IN)
        await call.send(cancel_tts=cancel)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=1600, data=FRAME.tobytes()))
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target) as conversation:
        player = conversation.player
        await until(lambda: player.paused)
        player.render(320)
        assert player.position == 80
        await conversation.send_text("go on")
        await until(lambda: not player.paused)
        await conversation.send_text("stop")
        await until(lambda: player.late_samples)
        assert player.buffered_samples == 0
        await conversation.end()
        seen = [e for e in await drain(conversation) if not isinstance(e, client.SessionReady)]
    assert [type(e) for e in seen] == [client.PlayoutPaused, client.PlayoutResumed, client.TtsCancelled]
    cancelled = seen[2]
    assert isinstance(cancelled, client.TtsCancelled)
    assert (cancelled.epoch, cancelled.last_valid_sample, cancelled.reason) == (1, 99, CancelReason.BARGE_IN)
    assert cancelled.position == 80


async def test_tells_everything_in_order(serve, ready):
    """If this fails an application cannot show what goes on."""

    async def script(call):
        await ready(call)
        await call.send(
            state_changed=pb.StateChanged(**{"from": pb.STATE_IDLE}, to=pb.STATE_LISTENING, event="SpeechStarted", session_ms=40)
        )
        words = [pb.Word(text="hi", start_sample=10, end_sample=20)]
        await call.send(transcript=pb.Transcript(text="hi", is_final=True, words=words))
        await call.send(assistant_text=pb.AssistantText(epoch=1, index=0, text="Hello."))
        latencies = pb.TurnLatencies(first_audio_ms=120)
        completed = pb.TurnCompleted(
            epoch=1,
            user_text="hi",
            assistant_text="Hello.",
            heard_text="Hello.",
            outcome=pb.TurnCompleted.OUTCOME_COMPLETED,
            latencies=latencies,
        )
        await call.send(turn_completed=completed)
        await call.send(
            error=pb.Error(fault=pb.Error.FAULT_BACKEND, message="The model failed.", remedy="Try again.", backend="llm", epoch=2)
        )
        await call.send(state_changed=pb.StateChanged(to=cast(Any, 99)))

    async with serve(script) as target, Conversation.connect(target) as conversation:
        _, state, transcript, text, turn, error, unknown = await drain(conversation)
    assert (state.before, state.after, state.event, state.session_ms) == (State.IDLE, State.LISTENING, "SpeechStarted", 40)
    assert transcript.is_final
    assert transcript.words[0].end_sample == 20
    assert text.text == "Hello."
    assert turn.outcome is client.Outcome.COMPLETED
    assert turn.latencies.first_audio_ms == 120
    assert turn.latencies.onset_to_pause_ms is None
    assert (error.fault, error.backend, error.remedy) == (client.Fault.BACKEND, "llm", "Try again.")
    assert unknown.after is State.UNSPECIFIED


@pytest.mark.parametrize("push_to_talk", [True, False])
async def test_push_to_talk_can_be_turned_on_and_off(serve, ready, push_to_talk):
    """If this fails a client cannot have hands-free talk on a server whose default is a button."""
    calls = []

    async def script(call):
        await ready(call)
        calls.append(call)
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target, SessionOptions(push_to_talk=push_to_talk)):
        pass
    assert calls[0].config.endpointing == pb.EndpointingOptions(push_to_talk=push_to_talk)


@pytest.mark.parametrize("outcome", [outcome for outcome in client.Outcome if outcome is not client.Outcome.UNSPECIFIED])
async def test_every_outcome_is_told(serve, ready, outcome):
    """If this fails a reply that was dropped unheard looks like one this client is too old to understand."""

    async def script(call):
        await ready(call)
        await call.send(turn_completed=pb.TurnCompleted(epoch=1, outcome=f"OUTCOME_{outcome.name}"))

    async with serve(script) as target, Conversation.connect(target) as conversation:
        _, turn = await drain(conversation)
    assert turn.outcome is outcome


async def test_reports_playout_when_no_audio_does(serve, ready):
    """If this fails a client without a microphone never finishes a reply."""
    got = []

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=np.tile(FRAME, 2).tobytes()))
        got.append((await call.receive_until("playout_progress")).playout_progress)
        await call.send(pause_playout=pb.PausePlayout(epoch=1))
        got.append((await call.receive_until("playout_progress")).playout_progress)
        await call.receive_until("end_session")

    settings = ClientSettings(report_ms=20)
    async with serve(script) as target, Conversation.connect(target, settings=settings) as conversation:
        await until(lambda: conversation.player.buffered_samples)
        conversation.player.render(320)
        await until(lambda: len(got) == 2)
    assert (got[0].far_end_sample, got[0].paused) == (320, False)
    assert got[1].paused


async def test_says_how_loud_it_is_while_audio_flows(serve, ready):
    """If this fails the server expects the echo of a level that the loudspeaker does not have."""
    got = []

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=np.tile(FRAME, 2).tobytes()))
        await call.receive_until("audio")
        for order in ({"duck_playout": pb.DuckPlayout(epoch=1, duck_db=12)}, {"resume_playout": pb.ResumePlayout(epoch=1)}):
            await call.send(**order)
            got.append((await call.receive_until("playout_progress")).playout_progress)
        await call.receive_until("end_session")

    settings = ClientSettings(report_ms=1000)
    async with serve(script) as target, Conversation.connect(target, settings=settings) as conversation:
        await until(lambda: conversation.player.buffered_samples)
        conversation.player.render(320)
        while len(got) < 2:
            await conversation.send_audio(FRAME)
            await asyncio.sleep(0.005)
    assert [(one.far_end_sample, one.paused, one.duck_db) for one in got] == [(320, False, 12), (320, False, 0)]


async def test_says_that_a_new_reply_is_not_ducked(serve, ready):
    """If this fails the server takes the first tenth of a second of the next reply for quieter than it is."""
    got = []

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=FRAME.tobytes(), last=True))
        await call.send(duck_playout=pb.DuckPlayout(epoch=1, duck_db=12))
        got.append((await call.receive_until("playout_progress")).playout_progress)
        await call.send(audio=pb.AudioOutput(epoch=2, first_sample=320, data=FRAME.tobytes()))
        got.append((await call.receive_until("playout_progress")).playout_progress)
        await call.receive_until("end_session")

    settings = ClientSettings(report_ms=60_000)
    async with serve(script) as target, Conversation.connect(target, settings=settings):
        await until(lambda: len(got) == 2)
    assert [(one.far_end_sample, one.duck_db) for one in got] == [(0, 12), (320, 0)]


async def test_the_user_can_press_stop(serve, ready):
    """If this fails the stop button waits for the network before it silences anything."""
    got = []

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=3, first_sample=0, data=np.tile(FRAME, 9).tobytes()))
        got.append((await call.receive_until("cancel_tts")).cancel_tts)
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target) as conversation:
        await until(lambda: conversation.player.buffered_samples)
        conversation.player.render(320)
        await conversation.cancel()
        assert not conversation.player.render(320).any()
        await until(lambda: got)
    assert (got[0].epoch, got[0].last_valid_sample) == (0, 319)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, client.InvalidRequest),
        (grpc.StatusCode.FAILED_PRECONDITION, client.WrongMoment),
        (grpc.StatusCode.NOT_FOUND, client.NotOffered),
        (grpc.StatusCode.UNIMPLEMENTED, client.NotSupported),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, client.ServerFull),
        (grpc.StatusCode.UNAVAILABLE, client.ServerUnavailable),
        (grpc.StatusCode.INTERNAL, client.ServerDefect),
        (grpc.StatusCode.UNAUTHENTICATED, client.NotAllowed),
    ],
)
async def test_a_refusal_is_a_typed_exception_with_the_servers_words(serve, code, kind):
    """If this fails an application cannot tell "try again" from "fix your code"."""

    async def script(call):
        await call.context.abort(code, "The rate 11025 is not offered.")

    async with serve(script) as target:
        with pytest.raises(kind, match="11025") as caught:
            async with Conversation.connect(target):
                pass
    assert caught.value.code == code.name


async def test_a_failure_in_mid_conversation_reaches_who_iterates_and_who_sends(serve, ready):
    """If this fails an application waits for ever on a dead call."""

    async def script(call):
        await ready(call)
        await call.context.abort(grpc.StatusCode.INTERNAL, "A defect.")

    async with serve(script) as target, Conversation.connect(target) as conversation:
        with pytest.raises(client.ServerDefect, match="A defect"):
            await drain(conversation)
        with pytest.raises(client.ServerDefect, match="A defect"):
            await conversation.send_audio(FRAME)


async def test_a_failure_nobody_looked_at_is_raised_on_leaving(serve, ready):
    """If this fails a conversation that broke looks like one that went well."""

    async def script(call):
        await ready(call)
        await call.context.abort(grpc.StatusCode.INTERNAL, "A defect.")

    async with serve(script) as target:
        with pytest.raises(client.ServerDefect, match="A defect"):
            async with Conversation.connect(target) as conversation:
                await until(lambda: conversation.ended)


async def test_nobody_there(unused_tcp_port):
    """If this fails a wrong address hangs."""
    with pytest.raises(client.ServerUnavailable, match="voicefsm serve"):
        async with Conversation.connect(f"127.0.0.1:{unused_tcp_port}"):
            pass


async def test_a_server_that_never_says_ready(serve):
    """If this fails a hanging server hangs its clients."""

    async def script(call):
        await call.receive_until("end_session")

    async with serve(script) as target:
        with pytest.raises(client.ServerUnavailable, match="did not answer"):
            async with Conversation.connect(target, settings=ClientSettings(connect_ms_max=100)):
                pass


async def test_sending_after_the_end_is_an_error(serve, ready):
    """If this fails audio vanishes without a word."""

    async def script(call):
        await ready(call)
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target) as conversation:
        await conversation.end()
        assert [type(e) for e in await drain(conversation)] == [client.SessionReady]
        with pytest.raises(client.ConversationEnded):
            await conversation.send_text("hello?")


async def test_events_nobody_reads_are_bounded_and_counted(serve, ready):
    """If this fails an application that only plays audio fills its memory."""

    async def script(call):
        await ready(call)
        for index in range(30):
            await call.send(assistant_text=pb.AssistantText(epoch=1, index=index, text="x"))

    async with serve(script) as target, Conversation.connect(target, settings=ClientSettings(events_max=10)) as conversation:
        await until(lambda: conversation.ended)
        seen = await drain(conversation)
    assert isinstance(seen[0], client.EventsLost)
    assert seen[0].count == 21
    assert [e.index for e in seen[1:]] == list(range(20, 30))


async def test_sending_waits_when_the_server_does_not_read_and_ends_with_the_call(serve, ready):
    """If this fails a stuck server fills the client's memory, or hangs it for good."""
    go = asyncio.Event()

    async def script(call):
        await ready(call)
        await go.wait()
        await call.context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too fast.")

    big = np.zeros(500_000, np.int16)
    settings = ClientSettings(send_messages_max=4)
    async with serve(script) as target, Conversation.connect(target, settings=settings) as conversation:

        async def flood():
            while True:
                await conversation.send_audio(big)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.05)
        assert not flooding.done()
        go.set()
        with pytest.raises(client.ConversationFailed):  # which one grpcio cannot say while a write waits
            await flooding


async def test_leaving_on_an_error_does_not_wait_for_the_server(serve, ready):
    """If this fails a crash of the application is followed by a hang."""
    over = asyncio.Event()

    async def script(call):
        await ready(call)
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    async with serve(script) as target:
        with pytest.raises(KeyError):
            async with Conversation.connect(target, settings=ClientSettings(close_ms_max=60_000)):
                raise KeyError
        async with asyncio.timeout(5):
            await over.wait()


async def test_leaving_a_frozen_server_takes_no_longer_than_allowed(serve, ready):
    """If this fails an application whose server hangs can never leave: the send queue is full and nobody takes from it."""

    async def script(call):
        await ready(call)
        await asyncio.Event().wait()

    settings = ClientSettings(send_messages_max=4, close_ms_max=50)
    async with serve(script) as target, asyncio.timeout(5):
        async with Conversation.connect(target, settings=settings) as conversation:
            await stuff(conversation)
        assert conversation.ended


async def test_a_failure_that_comes_while_hanging_up_waits_for_room_is_raised(serve, ready):
    """If this fails a conversation that broke while the application left looks like one that went well."""
    go = asyncio.Event()

    async def script(call):
        await ready(call)
        await go.wait()
        await call.context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too fast.")

    settings = ClientSettings(send_messages_max=4, close_ms_max=5000)
    async with serve(script) as target, asyncio.timeout(10):
        with pytest.raises(client.ConversationFailed):  # noqa: PT012 - leaving raises
            async with Conversation.connect(target, settings=settings) as conversation:
                await stuff(conversation)
                asyncio.get_running_loop().call_later(0.05, go.set)


async def test_what_cannot_be_understood_is_a_failure_and_no_end(serve_bytes, ready_bytes):
    """If this fails a conversation that broke off over a defect looks like one that went well."""
    async with serve_bytes(ready_bytes, b"\xff\xff\xff") as target:
        with pytest.raises(client.ServerDefect, match="is no message of"):
            async with Conversation.connect(target) as conversation:
                await until(lambda: conversation.ended)
        async with Conversation.connect(target) as conversation:
            with pytest.raises(client.ServerDefect, match="is no message of") as caught:
                await drain(conversation)
            with pytest.raises(client.ServerDefect, match="is no message of"):
                await conversation.send_audio(FRAME)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_what_cannot_be_understood_instead_of_ready(serve_bytes):
    """If this fails a client that called something else than voicefsm waits, or crashes."""
    async with serve_bytes(b"\xff\xff\xff") as target:
        with pytest.raises(client.ServerDefect, match="is no message of"):
            async with Conversation.connect(target):
                pass


async def test_options_that_cannot_be_sent_are_the_applications_fault(serve, ready):
    """If this fails a typo in the application is told as a defect of the server."""
    async with serve(ready) as target:
        with pytest.raises(TypeError):
            async with Conversation.connect(target, SessionOptions(silence_ms=cast(Any, "500"))):
                pass


async def test_half_a_sample_is_left_out(serve, ready):
    """If this fails one odd byte of a server ends the conversation."""

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=FRAME.tobytes() + b"x"))
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target) as conversation:
        await until(lambda: conversation.player.buffered_samples)
        assert conversation.player.buffered_samples == 320
        assert (conversation.player.render(320) == FRAME).all()


async def test_the_connection_is_kept_alive_as_the_settings_say(monkeypatch, serve, ready):
    """If this fails a server that lost its power is noticed after the operating system's quarter of an hour."""
    given = []
    insecure_channel = grpc.aio.insecure_channel

    def channel(target, options):
        given.extend(options)
        return insecure_channel(target, options=options)

    async def script(call):
        await ready(call)
        await call.receive_until("end_session")

    monkeypatch.setattr(grpc.aio, "insecure_channel", channel)
    settings = ClientSettings(keepalive_ms=30_000, keepalive_timeout_ms=700)
    async with serve(script) as target, Conversation.connect(target, settings=settings):
        pass
    assert set(given) == {("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 700)}


async def test_two_conversations_at_once(serve, ready):
    """If this fails one client's cancel silences another's assistant."""

    async def script(call):
        await ready(call)
        await call.send(audio=pb.AudioOutput(epoch=1, first_sample=0, data=FRAME.tobytes()))
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target) as one, Conversation.connect(target) as two:
        await until(lambda: one.player.buffered_samples and two.player.buffered_samples)
        one.player.cancel(Epoch(1))
        assert two.player.buffered_samples == 320


async def stuff(conversation: Conversation) -> None:
    """Send until nothing more can be sent to a server that reads nothing: neither flow control nor the send queue has room."""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.2):
                await conversation.send_audio(np.zeros(500_000, np.int16))
    assert conversation._outbox.full()


async def until(condition) -> None:
    """Wait, bounded, for something the other side causes."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.005)
