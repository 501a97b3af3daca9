"""The Riva synthesizer, against a scripted Riva over loopback, sample by sample."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing

import grpc
import numpy as np
import pytest
import riva.client.proto.riva_tts_pb2 as rtts
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.adapters import riva_tts
from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.riva_tts import (
    InputMode,
    RivaSynthesisStream,
    RivaSynthesizer,
    RivaTtsSettings,
    ServerAge,
    _Piece,
    _voices,
    pieces,
    words_of_durations,
)
from voicefsm.bench.turns import clock
from voicefsm.errors import BackendError
from voicefsm.ports import SpokenAudio, SpokenWord, SynthesisRequest
from voicefsm.scripted import Close, Fail, FallSilent, Fault, ScriptedRiva, TtsScript, fastpitch_like, magpie_like, voice

REQUEST = SynthesisRequest("en-US", "", 16000)
SEGMENTS = ("Hello there.", "This is the second.", "And a third one.")


def synthesizer(riva: ScriptedRiva, settings: RivaTtsSettings | None = None) -> RivaSynthesizer:
    return RivaSynthesizer(settings or RivaTtsSettings(), RivaChannelSettings(target=riva.target))


async def reply(tts: RivaSynthesizer, *segments: str) -> list[SpokenAudio]:
    async with tts.open(REQUEST) as stream:
        for index, text in enumerate(segments):
            stream.speak(index, text)
        stream.finish()
        return [spoken async for spoken in stream]


def heard(spoken: list[SpokenAudio]) -> dict[int, bytes]:
    """The audio of each segment. Segments must not be interleaved."""
    assert [s.index for s in spoken] == sorted(s.index for s in spoken)
    return {i: b"".join(s.samples.tobytes() for s in spoken if s.index == i) for i in {s.index for s in spoken}}


EXACT = {index: voice(text, 16000).tobytes() for index, text in enumerate(SEGMENTS)}


@pytest.mark.parametrize("chunk_bytes", [4096, 4097, 999, 1 << 20])
async def test_new_server_speaks_a_reply_in_one_call(chunk_bytes: int) -> None:
    """Otherwise samples are lost or doubled at chunk borders, or each sentence pays for a call."""
    script = TtsScript(chunk_bytes=chunk_bytes)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        assert heard(await reply(tts, *SEGMENTS)) == EXACT
        assert (riva.tts.calls, riva.tts.cancelled) == (1, 0)
        assert not tts.is_piecewise


@pytest.mark.parametrize("first_chunk_ms", [0, 20])
@pytest.mark.parametrize("echoes_ids", [True, False])
async def test_old_server_loses_nothing(first_chunk_ms: int, echoes_ids: bool) -> None:
    """Otherwise every reply to a customer with Riva 2.17 ends after its first sentence, without an error."""
    script = TtsScript(is_old=True, first_chunk_ms=first_chunk_ms, echoes_ids=echoes_ids)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        assert heard(await reply(tts, *SEGMENTS)) == EXACT
        assert heard(await reply(tts, *SEGMENTS)) == EXACT
        assert tts.is_piecewise
        assert heard(await reply(tts, *SEGMENTS)) == EXACT
        assert [asked.text for asked in riva.tts.asked] == [*SEGMENTS, *SEGMENTS, *SEGMENTS]


async def test_old_server_loses_nothing_of_a_reply_still_being_written() -> None:
    """Otherwise sentences that the model writes after the first one was spoken vanish (the write meets an ended call)."""
    async with ScriptedRiva(tts=TtsScript(is_old=True)) as riva, aclosing(synthesizer(riva)) as tts, tts.open(REQUEST) as stream:
        spoken: list[SpokenAudio] = []
        audio = aiter(stream)
        for index, text in enumerate(SEGMENTS):
            stream.speak(index, text)
            while len(b"".join(s.samples.tobytes() for s in spoken if s.index == index)) < len(EXACT[index]):
                spoken.append(await anext(audio))
            await asyncio.sleep(0.02)
        stream.finish()
        spoken += [s async for s in audio]
        assert heard(spoken) == EXACT
        assert [asked.text for asked in riva.tts.asked] == list(SEGMENTS)


async def test_old_server_with_a_slow_listener_loses_nothing() -> None:
    """Otherwise audio that waits to be taken is dropped when a write fails beside it (grpc.aio does that)."""
    text = "A long first sentence that takes a while to be taken by its listener."
    whole = RivaTtsSettings(segment_chars_max=len(text))
    riva = ScriptedRiva(tts=TtsScript(is_old=True))
    async with riva, aclosing(synthesizer(riva, whole)) as tts, tts.open(REQUEST) as stream:
        stream.speak(0, text)
        audio = aiter(stream)
        spoken = [await anext(audio)]
        await asyncio.sleep(0.05)
        stream.speak(1, SEGMENTS[1])
        await asyncio.sleep(0.05)
        stream.finish()
        async for piece in audio:
            spoken.append(piece)
            await asyncio.sleep(0.005)
    assert heard(spoken) == {0: voice(text, 16000).tobytes(), 1: EXACT[1]}


async def test_unary_mode_asks_piece_by_piece() -> None:
    """Otherwise the setting does nothing."""
    async with ScriptedRiva() as riva, aclosing(synthesizer(riva, RivaTtsSettings(input_mode=InputMode.UNARY))) as tts:
        assert heard(await reply(tts, *SEGMENTS)) == EXACT
        assert [asked.call for asked in riva.tts.asked] == [0, 1, 2]


async def test_forced_streaming_names_what_an_old_server_lost() -> None:
    """Otherwise text is lost without a word because somebody chose a mode."""
    riva = ScriptedRiva(tts=TtsScript(is_old=True))
    async with riva, aclosing(synthesizer(riva, RivaTtsSettings(input_mode=InputMode.STREAMING))) as tts:
        with pytest.raises(BackendError, match=r"[12] texts unspoken.*input_mode"):
            await reply(tts, *SEGMENTS)


@pytest.mark.parametrize("echoes_texts", [True, False])
async def test_new_server_without_ids_doubles_nothing(echoes_texts: bool) -> None:
    """Otherwise every reply is spoken twice by a server that names no ids."""
    script = TtsScript(echoes_ids=False, echoes_texts=echoes_texts)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        spoken = await reply(tts, *SEGMENTS)
        assert b"".join(s.samples.tobytes() for s in spoken) == b"".join(EXACT.values())
        assert [asked.text for asked in riva.tts.asked] == list(SEGMENTS)
        if echoes_texts:
            assert heard(spoken) == EXACT


async def test_same_text_twice_without_ids_is_spoken_twice() -> None:
    """Otherwise "No. No." is one no, or the second is asked for again."""
    async with ScriptedRiva(tts=TtsScript(echoes_ids=False)) as riva, aclosing(synthesizer(riva)) as tts:
        spoken = await reply(tts, *SEGMENTS[:1] * 2)
    assert b"".join(s.samples.tobytes() for s in spoken) == EXACT[0] * 2


async def test_few_texts_are_at_the_server_ahead_of_their_time() -> None:
    """Otherwise a reply that is cut in its first second has left all its texts at the server."""
    script = TtsScript(chunk_period_ms=20)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts, tts.open(REQUEST) as stream:
        for index in range(20):
            stream.speak(index, SEGMENTS[index % 3])
        await anext(aiter(stream))
        sent = sum(piece.is_sent for piece in stream._pending)
    assert sent <= RivaTtsSettings().texts_ahead_max


async def test_texts_without_a_sound_do_not_stop_those_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise three odd sentences in a row end the reply."""
    monkeypatch.setattr(riva_tts, "AHEAD_S_MAX", 0.02)
    silent = ("One.", "Two.", "Three.", "Four.", "Five.")
    async with ScriptedRiva(tts=TtsScript(silent_texts=silent)) as riva, aclosing(synthesizer(riva)) as tts:
        spoken = await reply(tts, SEGMENTS[0], *silent, SEGMENTS[1])
        assert heard(spoken) == {0: EXACT[0], 6: EXACT[1]}
        assert riva.tts.calls == 1


async def test_text_without_audio_is_no_old_server() -> None:
    """Otherwise one odd sentence takes streaming input from the whole process."""
    async with ScriptedRiva(tts=TtsScript(silent_texts=SEGMENTS[1:])) as riva, aclosing(synthesizer(riva)) as tts:
        assert heard(await reply(tts, *SEGMENTS)) == {0: EXACT[0]}
        assert not tts.is_piecewise


async def test_words_are_timed_from_the_start_of_the_segment() -> None:
    """Otherwise the heard text of a long sentence is cut at the wrong word."""
    text = "One, two three four. Five six."
    async with ScriptedRiva() as riva, aclosing(synthesizer(riva, RivaTtsSettings(segment_chars_max=20))) as tts:
        spoken = await reply(tts, text, "Next.")
    first, second = pieces(text, 20)
    offset_ms = len(first) * 60
    words = [w for s in spoken if s.index == 0 for w in s.words]
    assert [w.text for w in words] == text.split()
    assert words[0] == SpokenWord("One,", 4 * 60)
    assert words[-1] == SpokenWord("six.", offset_ms + len(second) * 60)
    assert [w for s in spoken if s.index == 1 for w in s.words] == [SpokenWord("Next.", 5 * 60)]


async def test_repeated_timings_count_once() -> None:
    """Otherwise the heard text stutters with a server that sends all it knows each time."""
    async with ScriptedRiva(tts=TtsScript(repeats_words=True)) as riva, aclosing(synthesizer(riva)) as tts:
        spoken = await reply(tts, SEGMENTS[1])
    assert len(spoken) > 3
    assert [w.text for s in spoken for w in s.words] == SEGMENTS[1].split()


async def test_words_the_server_spells_otherwise_keep_its_spelling() -> None:
    """Otherwise one normalised number shifts every later word of the sentence."""
    piece = _Piece(0, "0.1", "It is 20 °C, says Dr. Who!")
    spelt = [("it", 1), ("is", 2), ("twenty", 3), ("degrees", 4), ("says", 5), ("doctor", 6), ("who", 7)]
    timings = [rtts.WordTiming(word=word, start_time=end - 1, end_time=end) for word, end in spelt]
    assert [w for w, _ in piece.new_words(timings)] == ["It", "is", "twenty", "degrees", "says", "doctor", "Who!"]


async def test_outage_breaks_the_reply_and_the_next_one_works() -> None:
    """Otherwise a server that restarts takes the gateway's voice for good."""
    async with ScriptedRiva(tts=TtsScript(chunk_period_ms=20)) as riva, aclosing(synthesizer(riva)) as tts:
        async with tts.open(REQUEST) as stream:
            stream.speak(0, "a long story that is cut off by an outage")
            audio = aiter(stream)
            await anext(audio)
            await riva.stop()
            with pytest.raises(BackendError) as caught:
                await _collect(stream, [])
            assert caught.value.retryable
        await riva.start()
        async with asyncio.timeout(10):
            while not (spoken := await _attempt(tts)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert heard(spoken) == {0: EXACT[0]}


async def _attempt(tts: RivaSynthesizer) -> list[SpokenAudio]:
    try:
        return await reply(tts, SEGMENTS[0])
    except BackendError:
        return []


async def test_leaving_cancels_at_once_and_ends_the_reader() -> None:
    """Otherwise a barge-in leaves the server speaking to nobody."""
    script = TtsScript(chunk_period_ms=20)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        async with tts.open(REQUEST) as stream:
            stream.speak(0, "a long story that nobody wants to hear to its end")
            audio = aiter(stream)
            await anext(audio)
            reader = asyncio.create_task(anext(audio, None))
            stream.speak(1, "and more of it")
        await reader
        assert await anext(audio, None) is None
        await asyncio.sleep(0.05)
        assert (riva.tts.cancelled, riva.tts.open_calls) == (1, 0)
        assert len(riva.tts.asked) == 1


@pytest.mark.parametrize("mode", [InputMode.STREAMING, InputMode.UNARY])
@pytest.mark.parametrize("takes_audio", [False, True])
async def test_a_reply_that_was_left_asks_for_nothing_more(mode: InputMode, *, takes_audio: bool) -> None:
    """Otherwise a text follows the cancellation: whoever feeds the call has not ended yet, and may begin one for nobody."""
    async with ScriptedRiva(tts=TtsScript(chunk_period_ms=20)) as riva, aclosing(synthesizer(riva, RivaTtsSettings(mode))) as tts:
        async with tts.open(REQUEST) as stream:
            audio = aiter(stream)
            stream.speak(0, "a long story that nobody wants to hear to its end")
            if takes_audio:
                await anext(audio)
            for index in range(1, 9):
                stream.speak(index, "and more of it")
            stream.leave()
            assert await anext(audio, None) is None
            await asyncio.sleep(0.05)
            assert (riva.tts.calls, riva.tts.cancelled, len(riva.tts.asked)) == ((1, 1, 1) if takes_audio else (0, 0, 0))
        await asyncio.sleep(0.05)
        assert riva.tts.calls == takes_audio


async def test_run_ahead_is_bounded() -> None:
    """Otherwise a reply cancelled after a second has cost the server a minute of synthesis."""
    text = "x" * 90 + " "
    async with ScriptedRiva(tts=TtsScript(chunk_bytes=2048)) as riva, aclosing(synthesizer(riva)) as tts:
        async with tts.open(REQUEST) as stream:
            for index in range(10):
                stream.speak(index, text)
            await anext(aiter(stream))
            await asyncio.sleep(0.2)
            produced = riva.tts.produced_bytes
        total = 10 * 90 * 60 * 32
    assert produced < 100_000 < total


async def test_opening_costs_nothing() -> None:
    """Otherwise a reply that is dropped before its first sentence still reaches the server."""
    async with ScriptedRiva() as riva, aclosing(synthesizer(riva)) as tts:
        assert await reply(tts) == []
        assert await reply(tts, "...", "{}") == []
        async with tts.open(REQUEST):
            pass
        assert riva.tts.calls == 0


@pytest.mark.parametrize("mode", [InputMode.AUTO, InputMode.UNARY])
async def test_status_in_mid_reply_is_a_backend_error_after_its_audio(mode: InputMode) -> None:
    """Otherwise audio before a failure is lost, or the failure is."""
    script = TtsScript(faults={1: Fault(Fail(grpc.StatusCode.UNKNOWN, "Error: Triton model failed"), after_ms=300)})
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva, RivaTtsSettings(input_mode=mode))) as tts:
        spoken: list[SpokenAudio] = []
        async with tts.open(REQUEST) as stream:
            for index, text in enumerate(SEGMENTS):
                stream.speak(index, text)
            with pytest.raises(BackendError, match="Triton") as caught:
                await _collect(stream, spoken)
    assert caught.value.retryable
    assert heard(spoken) == {0: EXACT[0], 1: EXACT[1][: 300 * 32]}


async def _collect(stream: RivaSynthesisStream, spoken: list[SpokenAudio]) -> None:
    async for piece in stream:
        spoken.append(piece)  # noqa: PERF401, what came before a failure counts


@pytest.mark.parametrize("after_ms", [0, 120])
@pytest.mark.parametrize("mode", [InputMode.AUTO, InputMode.UNARY])
async def test_server_that_owes_audio_is_given_up(mode: InputMode, after_ms: int) -> None:
    """Otherwise a stuck synthesizer holds the reply, and the user, for ever."""
    script = TtsScript(faults={0: Fault(FallSilent(), after_ms=after_ms)})
    settings = RivaTtsSettings(input_mode=mode, first_audio_ms_max=150, chunk_ms_max=150)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva, settings)) as tts:
        with pytest.raises(BackendError, match="owes audio and sent none in time"):
            await reply(tts, *SEGMENTS[:1])
        await asyncio.sleep(0.03)
        assert riva.tts.open_calls == 0


async def test_server_that_owes_nothing_may_wait_for_text() -> None:
    """Otherwise a model that thinks between two sentences kills its own reply."""
    settings = RivaTtsSettings(first_audio_ms_max=100, chunk_ms_max=100)
    async with ScriptedRiva() as riva, aclosing(synthesizer(riva, settings)) as tts, tts.open(REQUEST) as stream:
        stream.speak(0, SEGMENTS[0])

        async def think() -> None:
            await asyncio.sleep(0.3)
            stream.speak(1, SEGMENTS[1])
            stream.finish()

        thinking = asyncio.create_task(think())
        assert heard([s async for s in stream]) == {0: EXACT[0], 1: EXACT[1]}
        await thinking
        assert riva.tts.calls == 1


async def test_server_that_closes_early_is_asked_again() -> None:
    """Otherwise a server that restarts politely between two sentences swallows the rest of the reply."""
    script = TtsScript(faults={1: Fault(Close())})
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        assert heard(await reply(tts, *SEGMENTS)) == EXACT
        assert not tts.is_piecewise, "one restart is no proof"


async def test_server_taken_for_an_old_one_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two restarts in a row, or an old server that was replaced, cost streaming input until the gateway is restarted."""
    monkeypatch.setattr(riva_tts, "OLD_REPLIES_MAX", 3)
    script = TtsScript(faults={1: Fault(Close()), 5: Fault(Close())})
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        calls = []
        for _ in range(7):
            before = riva.tts.calls
            assert heard(await reply(tts, *SEGMENTS)) == EXACT
            calls.append(riva.tts.calls - before)
        assert calls == [3, 3, 3, 3, 3, 1, 1]


def test_replies_that_were_cut_together_count_once() -> None:
    """Otherwise one restart under load makes an old server of a new one."""
    age = ServerAge()
    for _ in range(5):
        age.lost(0)
    assert not age.is_old
    age.lost(1)
    assert age.is_old
    age.took_more()
    age.lost(1)
    age.lost(0)
    assert not age.is_old, "it takes two that began after the proof of the contrary"


async def test_nobody_there_is_a_backend_error() -> None:
    """Otherwise the session waits for a voice that never comes."""
    async with aclosing(RivaSynthesizer(RivaTtsSettings(), RivaChannelSettings(target="127.0.0.1:1"))) as tts:
        with pytest.raises(BackendError, match=r"127\.0\.0\.1:1 .*UNAVAILABLE.*`voicefsm doctor`"):
            await reply(tts, "hello")
        with pytest.raises(BackendError, match="UNAVAILABLE"):
            await tts.voices()


async def test_unknown_voice_is_final() -> None:
    """Otherwise the session retries for ever what cannot work."""
    async with (
        ScriptedRiva() as riva,
        aclosing(synthesizer(riva)) as tts,
        tts.open(SynthesisRequest("en-US", "Nobody", 16000)) as stream,
    ):
        stream.speak(0, "hello")
        with pytest.raises(BackendError, match="no voice 'Nobody'") as caught:
            await anext(aiter(stream))
        assert not caught.value.retryable


async def test_full_server_is_worth_another_try() -> None:
    """Otherwise a reply is given up for good because four others were being spoken."""
    async with ScriptedRiva(tts=TtsScript(streams_max=1, first_chunk_ms=100)) as riva, aclosing(synthesizer(riva)) as tts:
        ends = await asyncio.gather(reply(tts, SEGMENTS[0]), reply(tts, SEGMENTS[0]), return_exceptions=True)
        refused = next(end for end in ends if isinstance(end, BackendError))
        assert refused.retryable
        assert "RESOURCE_EXHAUSTED" in refused.message
        assert "capacity" in refused.remedy
        assert heard(next(end for end in ends if isinstance(end, list))) == {0: EXACT[0]}


async def test_too_much_waiting_text_fails_loudly() -> None:
    """Otherwise a model that never stops fills the memory."""
    async with ScriptedRiva() as riva, aclosing(synthesizer(riva, RivaTtsSettings(segments_waiting_max=2))) as tts:
        with pytest.raises(BackendError, match="more than 2 texts waiting"):
            await reply(tts, "a", "b", "c")


async def test_cancelled_reader_stays_cancelled() -> None:
    """Otherwise a session that is torn down goes on reading."""
    async with (
        ScriptedRiva(tts=TtsScript(first_chunk_ms=1000)) as riva,
        aclosing(synthesizer(riva)) as tts,
        tts.open(REQUEST) as stream,
    ):
        stream.speak(0, "hello")
        reader = asyncio.create_task(anext(aiter(stream), None))
        await asyncio.sleep(0.02)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader


async def test_voices_are_listed_by_language() -> None:
    """Otherwise admission accepts voices the server does not have."""
    voices = (("a", "en-US", "English-US"), ("b", "en-US,hi-IN", "Multi"))
    async with ScriptedRiva(tts=TtsScript(voices=voices)) as riva, aclosing(synthesizer(riva)) as tts:
        assert await tts.voices() == {"en-US": ("English-US", "Multi"), "hi-IN": ("Multi",)}


def test_subvoices_have_the_models_name_before_theirs() -> None:
    """Otherwise the voice names we offer are none the server knows."""
    parameters = {"language_code": "en-US,es-US", "voice_name": "Magpie", "subvoices": "EN-US.Aria:0,ES-US.Diego:1,Neutral:2"}
    assert _voices(parameters) == [
        ("en-US", "Magpie.EN-US.Aria"),
        ("es-US", "Magpie.ES-US.Diego"),
        ("en-US", "Magpie.Neutral"),
        ("es-US", "Magpie.Neutral"),
    ]


@settings(deadline=None)
@given(st.text(alphabet="ab c.,{}<>*é।", max_size=400), st.integers(20, 60))
def test_pieces_keep_every_word_within_the_limit(text: str, chars_max: int) -> None:
    """Otherwise words of a long sentence are not spoken, or a request is refused for its length."""
    parts = pieces(text, chars_max)
    assert all(0 < len(part) <= chars_max for part in parts)
    assert not set("".join(parts)) & set("{}<>*")
    spoken = "".join(char for part in parts for char in part if char.isalnum())
    assert spoken == "".join(char for char in text if char.isalnum())


def test_half_a_character_is_dropped() -> None:
    """Otherwise one broken token makes the request impossible to write, and the reply waits for it in vain."""
    assert pieces("a\ud83d b", 100) == ["a b"]


def test_pieces_share_the_length() -> None:
    """Otherwise the last word of a sentence is sent alone, and some voices swallow it."""
    assert pieces("one two three four five", 20) == ["one two three", "four five"]
    assert np.ptp([len(part) for part in pieces("word " * 45, 100)]) <= 10
    assert pieces("one two three four five", 20)[-1] == "four five"
    assert pieces("aaaaaaaaaa bbbbbbbbb ccccccccc", 20) == ["aaaaaaaaaa", "bbbbbbbbb ccccccccc"]


def test_pieces_end_where_a_voice_can_stop() -> None:
    """Otherwise it stops after "the", or in the middle of a word."""
    text = "Once upon a time there was a fox who lived at the edge of a very large forest near the river."
    assert pieces(text, 50) == ["Once upon a time there was a fox who lived", "at the edge of a very large forest near the river."]
    assert pieces("a" * 45 + " " + "b" * 9, 50) == ["a" * 45, "b" * 9]
    assert pieces("a" * 60, 50) == ["a" * 50, "a" * 10]
    assert pieces("a b c d " * 10, 50) == ["a b c d " * 4 + "a b c d", "a b c d " * 4 + "a b c d"]


def test_pieces_end_with_a_clause_where_there_is_one() -> None:
    """Otherwise the melody of a sentence breaks in mid-clause, where everybody hears it."""
    text = "It is warm and sunny, says the old man, but the evening will be cold and wet."
    assert pieces(text, 50) == ["It is warm and sunny, says the old man,", "but the evening will be cold and wet."]
    assert pieces("यह बहुत लंबा वाक्य है, और यह आगे भी चलता रहता है।", 30)[0] == "यह बहुत लंबा वाक्य है,"


# --- when audio comes --------------------------------------------------------------------------------------------------------

RATE_HZ = 22050
STORY = (
    "Once upon a time there was a king,",
    "who had a very long story to tell to everybody who came by. ",
    "It went on, and on, and nobody knew how it would end, not even the king himself.",
    "Then it was over.",
)


async def listen(script: TtsScript, settings: RivaTtsSettings, sentence_ms: int) -> tuple[float, float]:
    """A listener that plays at real time what it gets: (ms to the first audio, ms of silence within the reply)."""
    loop = asyncio.get_running_loop()
    riva = ScriptedRiva(tts=script)
    async with riva, aclosing(synthesizer(riva, settings)) as tts:
        await reply(tts, "One.", "Two.")
        await reply(tts, "One.", "Two.")  # an old server is known by now
        async with tts.open(SynthesisRequest("en-US", "", RATE_HZ)) as stream:
            asked = loop.time()
            asyncio.create_task(write(stream, sentence_ms))  # noqa: RUF006, it ends long before the reply
            began, played_s, silence_s = 0.0, 0.0, 0.0
            async for spoken in stream:
                began = began or loop.time()
                late_s = loop.time() - began - played_s - silence_s
                silence_s += max(0.0, late_s) if played_s else 0.0
                played_s += len(spoken.samples) / RATE_HZ
                if (ahead_s := -late_s) > 7:
                    await asyncio.sleep(ahead_s - 5)  # at once: virtual time goes slowly over many short waits
    assert round(played_s * 1000) == sum(len(piece) for text in STORY for piece in pieces(text, settings.segment_chars_max)) * 60
    return (began - asked) * 1000, silence_s * 1000


async def write(stream: RivaSynthesisStream, sentence_ms: int) -> None:
    for index, text in enumerate(STORY):
        stream.speak(index, text)
        await asyncio.sleep(sentence_ms / 1000)
    stream.finish()


@pytest.mark.parametrize("script", [magpie_like(), fastpitch_like(), magpie_like(load_ms=0, first_chunk_ms=400)])
@pytest.mark.parametrize("sentence_ms", [0, 300])
def test_no_gap_between_sentences(script: TtsScript, sentence_ms: int) -> None:
    """Otherwise the voice stops in the middle of a reply although the server is fast enough. Counted in virtual time."""
    first_ms, silence_ms = clock.run(listen(script, RivaTtsSettings(), sentence_ms))
    assert silence_ms <= 1
    assert script.first_chunk_ms <= round(first_ms) <= script.first_chunk_ms + 2 * script.chunk_period_ms + 5


def test_tiny_beginning_waits_for_more() -> None:
    """Otherwise the first 10 ms of each reply are followed by a hole; and this measure of gaps could not see one."""
    _, silence_ms = clock.run(listen(magpie_like(chunk_period_ms=19), RivaTtsSettings(start_ms_min=0), 0))
    assert silence_ms > 5
    _, silence_ms = clock.run(listen(magpie_like(chunk_period_ms=19), RivaTtsSettings(), 0))
    assert silence_ms <= 1


async def after_a_cancelled_reply(segment_chars_max: int) -> float:
    """ms to the first audio of a reply that follows a cancelled one."""
    loop, settings = asyncio.get_running_loop(), RivaTtsSettings(segment_chars_max=segment_chars_max)
    async with ScriptedRiva(tts=magpie_like()) as riva, aclosing(synthesizer(riva, settings)) as tts:
        async with tts.open(REQUEST) as stream:
            stream.speak(0, "word " * 38)
            await anext(aiter(stream))
        await asyncio.sleep(0.01)
        async with tts.open(REQUEST) as stream:
            stream.speak(0, SEGMENTS[0])
            asked = loop.time()
            await anext(aiter(stream))
            return (loop.time() - asked) * 1000


def test_short_texts_make_the_next_reply_sooner_after_a_barge_in() -> None:
    """Otherwise the cut of sentences into requests costs joins and gives nothing. In virtual time, with the residue of Magpie."""
    short_ms, long_ms = (clock.run(after_a_cancelled_reply(chars)) for chars in (50, 200))
    print(f"first audio after a cancelled reply: {short_ms:.0f} ms with texts of 50 characters, {long_ms:.0f} ms with 200")
    assert 80 <= short_ms < long_ms - 200


async def test_audio_before_a_failure_is_delivered_however_little_it_is() -> None:
    """Otherwise what was waiting for more is lost with the server."""
    script = TtsScript(faults={0: Fault(Fail(grpc.StatusCode.UNKNOWN, "Triton"), after_ms=20)})
    spoken: list[SpokenAudio] = []
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts, tts.open(REQUEST) as stream:
        stream.speak(0, SEGMENTS[0])
        with pytest.raises(BackendError, match="Triton"):
            await _collect(stream, spoken)
    assert heard(spoken) == {0: EXACT[0][: 20 * 32]}


# --- what was heard ----------------------------------------------------------------------------------------------------------


async def test_planned_durations_time_words_where_nothing_else_does() -> None:
    """Otherwise what was heard of FastPitch is a guess, although it says how long each sound will be."""
    script = TtsScript(times_words=False, predicts_durations=True)
    async with ScriptedRiva(tts=script) as riva, aclosing(synthesizer(riva)) as tts:
        spoken = await reply(tts, SEGMENTS[1])
    timed = [s for s in spoken if s.words]
    assert [s.is_predicted for s in timed] == [True]
    exact = [(found[0], found.end() * 60) for found in re.finditer(r"\S+", SEGMENTS[1])]
    assert [w.text for w in timed[0].words] == [word for word, _ in exact]
    assert all(abs(w.end_ms - end_ms) <= 2 for w, (_, end_ms) in zip(timed[0].words, exact, strict=True))


@pytest.mark.parametrize(
    ("processed", "durations", "ends_ms"),
    [
        ("HI YOU", [10.0] * 6, [232, 697]),
        ("HI YOU", [0.05] * 6, [100, 300]),
        ("{@HH}{@AY1} {@Y}{@UW1}", [10.0] * 5, [232, 580]),
        ("{@HH@AY1} {@Y@UW1}", [10.0] * 6, [232, 697]),
        ("", [10.0] * 6, [232, 697]),
    ],
)
def test_durations_in_either_unit_for_letters_or_phonemes(processed, durations, ends_ms) -> None:
    """Otherwise every word of such a server is over in a millisecond, or never."""
    words = list(words_of_durations("Hi you", processed, durations))
    assert [word for word, _ in words] == ["Hi", "you"]
    assert [end_ms for _, end_ms in words] == pytest.approx(ends_ms, abs=120 if "@HH@" in processed else 1)


def test_durations_of_other_words_keep_theirs() -> None:
    """Otherwise a number that is spoken as three words loses two of them."""
    assert [word for word, _ in words_of_durations("in 84", "in eighty four", [5.0] * 14)] == ["in", "eighty", "four"]
