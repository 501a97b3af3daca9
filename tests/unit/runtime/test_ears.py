"""The session's ears: nothing said is lost, nothing comes twice, whatever becomes of a stream; their clock is the session's."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from voicefsm.errors import BackendError
from voicefsm.events import Fact, FinalHeard, PartialHeard, RecognitionFailed, RecognitionOpened, Word
from voicefsm.ports import Hypothesis, RecognitionRequest
from voicefsm.runtime.ears import COMMITTED_WORDS_MAX, HURRY_MS_MAX, Ears
from voicefsm.runtime.plan import SessionSettings
from voicefsm.simulation.fakes import FakeRecognitionStream, FakeRecognizer
from voicefsm.values import Backend

pytestmark = pytest.mark.looptime

REQUEST = RecognitionRequest("en-US", 500)
GONE = BackendError(Backend.ASR, "Gone.")


class Listener:
    """Ears and what they told."""

    def __init__(self, recognizer: FakeRecognizer | None = None, **settings: Any) -> None:
        self.recognizer = recognizer or FakeRecognizer()
        self.facts: list[Fact] = []
        self.ears = Ears(
            self.recognizer,
            REQUEST,
            settings=dataclasses.replace(SessionSettings(), **settings),
            commit_ms=800,
            now=lambda: round(asyncio.get_running_loop().time() * 1000),
            tell=self.facts.append,
        )
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        """Not open yet."""

    @property
    def stream(self) -> FakeRecognitionStream:
        return self.recognizer.stream

    @property
    def said(self) -> list[str]:
        """What was told: finals, and partials in brackets."""
        return [
            fact.text if isinstance(fact, FinalHeard) else f"({fact.text})"
            for fact in self.facts
            if isinstance(fact, FinalHeard | PartialHeard)
        ]

    def hear(self, ms: int, *, voiced: bool = False) -> None:
        """All at once."""
        for _ in range(ms // 20):
            self.ears.hear(np.ones(320, np.int16), is_voiced=voiced)

    async def listen(self, ms: int, *, voiced: bool = False) -> None:
        """In real time."""
        for _ in range(ms // 20):
            self.hear(20, voiced=voiced)
            await asyncio.sleep(0.02)

    async def says(
        self, text: str, *, final: bool = False, stability: float = 0.1, audio_ms: int = 0, words: Sequence[Word] = ()
    ) -> None:
        self.stream.hear(Hypothesis(text, is_final=final, stability=stability, words=tuple(words), audio_ms=audio_ms))
        await asyncio.sleep(0.001)

    async def open(self) -> None:
        self.task = asyncio.create_task(self.ears.run())
        await asyncio.sleep(0.01)

    async def lose(self, error: BackendError = GONE) -> None:
        self.stream.fail(error)
        await asyncio.wait([self.task])

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        self.ears.close()


async def test_hypotheses_become_facts() -> None:
    """Otherwise the machine hears nothing."""
    ear = Listener(
        FakeRecognizer([(20, Hypothesis("hel", is_final=False, stability=0.5)), (40, Hypothesis("hello", is_final=True))])
    )
    await ear.open()
    ear.hear(40)
    await asyncio.sleep(0.001)
    assert ear.facts == [RecognitionOpened(0), PartialHeard(10, "hel", 0.5), FinalHeard(10, "hello")]
    assert ear.recognizer.requests == [REQUEST]
    await ear.close()
    assert not ear.stream.is_open


async def test_audio_from_before_the_stream_is_open_is_caught_up_on() -> None:
    """Otherwise the first words of every session, and of every new stream, are lost."""
    ear = Listener()
    ear.hear(600)
    await ear.open()
    assert ear.stream.received_ms == 600
    ear.hear(100)
    assert ear.stream.received_ms == 700
    assert ear.ears.lost_samples == 0
    await ear.close()


async def test_a_long_absence_keeps_the_newest_audio_and_counts_the_rest() -> None:
    """Otherwise an ASR server that is away fills the memory; or audio is lost and nobody knows."""
    ear = Listener(ears_backlog_ms_max=200)
    ear.hear(1000)
    await ear.open()
    assert ear.stream.received_ms == 200
    assert ear.ears.lost_samples == 800 * 16
    await ear.close()


@pytest.mark.parametrize("how", ["fails", "ends", "refuses"])
async def test_every_end_of_the_stream_is_told_once(how: str) -> None:
    """Otherwise the session goes deaf in silence."""
    error = BackendError(Backend.ASR, "Gone.", retryable=False)
    ear = Listener(FakeRecognizer(open_errors={0: error} if how == "refuses" else {}))
    await ear.open()
    if how == "fails":
        ear.stream.fail(error)
    if how == "ends":
        ear.stream.end()
    await asyncio.wait([ear.task])
    (failed,) = [fact for fact in ear.facts if isinstance(fact, RecognitionFailed)]
    assert failed.retryable is (how == "ends")
    assert ear.task.exception() is None
    ear.hear(100)
    await ear.open()
    assert ear.stream.received_ms == 100, "audio after the end waits for the next stream"
    await ear.close()


async def test_finals_are_asked_of_the_open_stream_only() -> None:
    """Otherwise a request for a final crashes a session whose recogniser is away, or is forgotten."""
    ear = Listener()
    ear.ears.finalize()
    await ear.open()
    assert ear.stream.finalized == 1, "as soon as there is one"
    ear.ears.finalize()
    assert ear.stream.finalized == 2
    await ear.close()
    ear.ears.finalize()
    assert ear.stream.finalized == 2
    ear.ears.close()


async def test_a_final_is_asked_for_although_the_microphone_was_muted_in_mid_word() -> None:
    """Otherwise push to talk, released while a stream is being opened, costs the end of the word, or the turn."""
    ear = Listener()
    ear.hear(200, voiced=True)
    ear.ears.finalize()
    await ear.open()
    assert ear.stream.finalized == 0, "the user may go on"
    await asyncio.sleep(0.2)
    assert ear.stream.finalized == 1
    await ear.close()


async def test_cancellation_is_no_failure() -> None:
    """Otherwise the end of a session looks like an outage of the ASR server."""
    ear = Listener()
    await ear.open()
    await ear.close()
    assert ear.task.cancelled()
    assert ear.facts == [RecognitionOpened(0)]


# --- heard again -------------------------------------------------------------------------------------------------------------


async def test_what_is_not_final_is_heard_again_and_what_is_final_is_not() -> None:
    """Otherwise a stream that dies takes words with it, or the next one doubles them."""
    ear = Listener()
    await ear.open()
    ear.hear(1000, voiced=True)
    await ear.says("good morning", final=True, audio_ms=600, words=[Word("good", 0, 200), Word("morning", 200, 500)])
    ear.hear(1000, voiced=True)
    await ear.says("what is the", audio_ms=1800)
    await ear.lose()
    ear.hear(300, voiced=True)
    await ear.open()
    assert ear.stream.received_ms == 2000 - 600 + 300
    assert ear.said == ["good morning", "(what is the)"], "the words stay open: the next stream says them"
    await ear.close()


async def test_a_stream_that_catches_up_shows_nothing_less_than_was_shown() -> None:
    """Otherwise the client sees its words vanish and come again."""
    ear = Listener()
    await ear.open()
    ear.hear(1000, voiced=True)
    await ear.says("what is the", audio_ms=960)
    await ear.lose()
    await ear.open()
    for text, audio_ms in (("what", 400), ("what is", 600), ("what is the", 900)):
        await ear.says(text, audio_ms=audio_ms)
    ear.hear(200)
    await ear.says("what was", audio_ms=1100)
    await ear.says("what is the weather", final=True, audio_ms=1200)
    assert ear.said == ["(what is the)", "(what is the)", "(what was)", "what is the weather"]
    await ear.close()


async def test_words_are_placed_on_the_sessions_clock() -> None:
    """Otherwise, after the stream was opened again, every word seems to have been spoken at the beginning of the session."""
    ear = Listener()
    await ear.open()
    ear.hear(3000)
    await ear.says("", final=True)
    await ear.lose()
    ear.hear(400)
    await ear.open()
    ear.hear(100)
    ear.ears.skip(5000)
    ear.hear(500)
    await ear.says("x y", final=True, words=(Word("x", 100, 200), Word("y", 600, 700)))
    assert ear.facts[-1] == FinalHeard(ear.facts[-1].at_ms, "x y", (Word("x", 3100, 3200), Word("y", 8600, 8700)))
    await ear.close()


async def test_a_backlog_that_overflows_keeps_what_was_told() -> None:
    """Otherwise a monologue of a minute loses its beginning with the stream."""
    ear = Listener(ears_backlog_ms_max=1000)
    await ear.open()
    ear.hear(800, voiced=True)
    await ear.says("once upon a time")
    ear.hear(800, voiced=True)
    await ear.lose()
    assert ear.said == ["(once upon a time)", "once upon a time"]
    await ear.open()
    await ear.says("a time there was")
    assert ear.said[-1] == "(there was)", "what of it is heard again does not count twice"
    await ear.close()


async def test_words_that_the_recogniser_called_complete_are_final_when_it_dies() -> None:
    """Otherwise an answer that was begun on them meets them again as new ones."""
    ear = Listener()
    await ear.open()
    ear.hear(1000, voiced=True)
    await ear.says("what time is it", stability=1.0)
    await ear.lose()
    assert ear.said == ["(what time is it)", "what time is it"]
    await ear.open()
    await ear.says("What time is it?", final=True)
    assert ear.said == ["(what time is it)", "what time is it"]
    await ear.close()


async def test_quiet_keeps_little() -> None:
    """Otherwise every session that listens costs a megabyte."""
    ear = Listener(ears_quiet_ms=500)
    await ear.open()
    ear.hear(20_000)
    await ear.lose()
    ear.hear(300)
    await ear.open()
    assert ear.stream.received_ms == 800
    assert ear.ears.lost_samples == 0
    await ear.close()


# --- hurry -------------------------------------------------------------------------------------------------------------------


async def test_frames_hurry_from_the_first_silent_one_until_the_final() -> None:
    """Otherwise the last word of every turn waits for a chunk to fill; or each frame of a long talk costs a message."""
    ear = Listener()
    await ear.open()
    ear.hear(400)
    ear.hear(400, voiced=True)
    assert ear.stream.at_once == 0
    ear.hear(100)
    assert ear.stream.at_once == 5
    await ear.says("hello", final=True)
    ear.hear(100)
    assert ear.stream.at_once == 5
    ear.ears.hear(np.ones(320, np.int16), is_voiced=True, is_urgent=True)
    assert ear.stream.at_once == 6, "over a reply words decide"
    ear.hear(2 * HURRY_MS_MAX)
    assert ear.stream.at_once == 6 + HURRY_MS_MAX // 20, "a cough is never final"
    await ear.close()


async def test_nothing_hurries_once_the_recogniser_has_made_up_its_mind() -> None:
    """Otherwise a server that announces the end and finalises late, or when asked, gets 50 messages a second through a reply."""
    ear = Listener()
    await ear.open()
    ear.hear(400, voiced=True)
    await ear.says("hello")
    ear.hear(100)
    assert ear.stream.at_once == 5
    await ear.says("hello there", stability=1.0)
    ear.hear(1000)
    assert ear.stream.at_once == 5
    await ear.says("hello there you")  # it has changed its mind
    ear.hear(100)
    assert ear.stream.at_once == 10
    await ear.close()


async def test_only_what_nobody_speaks_into_may_wait_longer() -> None:
    """Otherwise words come late, or silence costs as much as speech."""
    ear = Listener()
    await ear.open()
    ear.hear(400)
    assert ear.stream.quiet == 20
    ear.hear(400, voiced=True)
    ear.hear(400)
    assert ear.stream.quiet == 20, "its final is still to come"
    await ear.says("hello", final=True)
    ear.hear(400)
    assert ear.stream.quiet == 40
    ear.ears.hear(np.zeros(320, np.int16), is_urgent=True)
    assert ear.stream.quiet == 40
    await ear.close()


# --- recognisers that never finalise, or hear nothing ----------------------------------------------------------------------------


async def test_a_final_that_does_not_come_is_the_last_partial() -> None:
    """Otherwise a server that never finalises loses every turn, or each turn says all turns before it again."""
    ear = Listener(FakeRecognizer(finalizes=False))
    await ear.open()
    ear.hear(1000, voiced=True)
    await ear.says("what is the time")
    ear.ears.finalize()
    await asyncio.sleep(0.7)
    assert ear.said == ["(what is the time)"]
    await asyncio.sleep(0.2)
    assert ear.said[1:] == ["what is the time"]
    for text in ("what is the time", "what is the time thank", "what is that time thank you"):
        await ear.says(text)
    ear.ears.finalize()
    await asyncio.sleep(1)
    assert ear.said[2:] == ["(thank)", "(thank you)", "thank you"]
    await ear.says("What is the time? Thank you.", final=True)
    await ear.says("Bye.", final=True)
    assert ear.said[5:] == ["Bye."]
    await ear.close()


async def test_a_recogniser_that_starts_anew_without_a_final_is_believed() -> None:
    """Otherwise the second "stop" of a session is taken for an echo of the first."""
    ear = Listener(FakeRecognizer(finalizes=False))
    await ear.open()
    await ear.says("stop the music")
    ear.ears.finalize()
    await asyncio.sleep(1)
    await ear.says("go on")
    await ear.says("stop the music")
    assert ear.said == ["(stop the music)", "stop the music", "(go on)", "(stop the music)"]
    await ear.close()


async def test_a_final_is_owed_while_the_recogniser_is_away() -> None:
    """Otherwise a turn waits for a server that is down; or what it says when it is back counts twice."""
    ear = Listener()
    await ear.open()
    ear.hear(1000, voiced=True)
    await ear.says("what is the")
    await ear.lose()
    ear.ears.finalize()
    await asyncio.sleep(1)
    assert ear.said == ["(what is the)", "what is the"]
    await ear.open()
    await ear.says(
        "what is the weather", final=True, words=[Word(w, k, k + 1) for k, w in enumerate("what is the weather".split())]
    )
    assert ear.facts[-1] == FinalHeard(ear.facts[-1].at_ms, "weather", (Word("weather", 3, 4),))
    await ear.close()


async def test_speech_without_a_word_replaces_the_stream() -> None:
    """Otherwise a stream that went stale without an error makes the session deaf for good."""
    ear = Listener(ears_stale_ms=1000)
    await ear.open()
    ear.hear(10_000)
    await ear.listen(900, voiced=True)
    await ear.says("hm")
    await ear.listen(900, voiced=True)
    assert not ear.task.done()
    await ear.listen(200, voiced=True)
    assert "heard no word in 1000 ms of speech" in str(ear.facts[-1])
    assert ear.facts[-1].retryable  # type: ignore[attr-defined]
    await ear.open()
    await ear.listen(1800, voiced=True)
    assert not ear.task.done(), "noise is no reason to change streams"
    await ear.listen(300, voiced=True)
    assert ear.task.done()
    await ear.open()
    await ear.says("hm")
    await ear.listen(1100, voiced=True)
    assert ear.task.done(), "words make up for it"
    ear.ears.close()


async def test_a_muted_client_keeps_its_stream() -> None:
    """Otherwise Riva gives the stream up after a minute, and words have wrong times when the client is back."""
    ear = Listener()
    await ear.open()
    ear.hear(1000)
    await asyncio.sleep(95)
    assert ear.stream.received_ms == 1000 + 9 * 80
    ear.hear(1000)
    await ear.says("x", final=True, words=[Word("x", 1000 + 9 * 80 + 100, 1000 + 9 * 80 + 200)])
    assert ear.facts[-1] == FinalHeard(ear.facts[-1].at_ms, "x", (Word("x", 1100, 1200),))
    await ear.close()
    await asyncio.sleep(60)


async def test_a_client_that_speaks_gets_no_silence_put_in() -> None:
    """Otherwise each sentence has holes."""
    ear = Listener()
    await ear.open()
    await ear.listen(30_000)
    assert ear.stream.received_ms == 30_000
    await ear.close()


# --- rotation ----------------------------------------------------------------------------------------------------------------


def totals(ear: Listener) -> list[float]:
    return [stream.received_ms for stream in ear.recognizer.streams]


async def until(happened: Callable[[], bool], ear: Listener, *, voiced: bool = False) -> None:
    for _ in range(3000):
        if happened():
            return
        await ear.listen(20, voiced=voiced)
    raise AssertionError("it never happened")


async def test_an_old_stream_is_replaced_between_utterances() -> None:
    """Otherwise a stream dies of old age in mid-sentence."""
    ear = Listener(ears_rotate_s=10)
    await ear.open()
    await ear.listen(9900)
    await ear.listen(2000, voiced=True)
    assert ear.ears.rotations == 0, "somebody speaks"
    await ear.says("hello", final=True)
    await until(lambda: ear.ears.rotations == 1, ear)
    first, second = ear.recognizer.streams
    assert first.is_finished
    await ear.listen(1000)
    assert sum(totals(ear)) == 11_900 + (ear.ears._media // 16 - 11_900), "every sample went to exactly one"
    second.hear(Hypothesis("there", is_final=True))
    await asyncio.sleep(0.01)
    assert ear.said == ["hello", "there"]
    assert not ear.task.done()
    await ear.close()


async def test_the_old_stream_still_says_its_last_word() -> None:
    """Otherwise a recogniser that is slow loses it."""
    ear = Listener(FakeRecognizer(), ears_rotate_s=1)
    await ear.open()
    ear.recognizer.stream.finish = lambda: None  # type: ignore[method-assign]
    await until(lambda: ear.ears.rotations == 1, ear)
    old = ear.recognizer.streams[0]
    old.hear(Hypothesis("li", is_final=False))
    old.hear(Hypothesis("late", is_final=True))
    await asyncio.sleep(0.01)
    assert ear.said == ["late"]
    await ear.listen(4000)
    assert not old.is_open
    await ear.close()


async def test_who_never_stops_talking_is_heard_again_by_the_next() -> None:
    """Otherwise a monologue keeps a stream until the server kills it; or the seam swallows a word, or doubles one."""
    ear = Listener(ears_rotate_s=10, ears_rotate_wait_ms=2000, ears_stale_ms=60_000)
    await ear.open()
    await ear.listen(9000, voiced=True)
    await ear.says("one two", final=True, audio_ms=8000)
    await ear.says("three")
    await until(lambda: ear.ears.rotations == 1, ear, voiced=True)
    old, new = ear.recognizer.streams
    old.hear(Hypothesis("three four", is_final=True))
    await ear.listen(100, voiced=True)
    assert not old.is_open
    assert ear.ears._media // 16 - new.received_ms == 8000
    new.hear(Hypothesis("three four five", is_final=True))
    await asyncio.sleep(0.01)
    assert ear.said == ["one two", "(three)", "three four five"]
    await ear.close()


@pytest.mark.parametrize("dies", ["the new one", "the old one"])
async def test_a_rotation_that_fails_changes_nothing(dies: str) -> None:
    """Otherwise the cure kills a stream that worked."""
    errors = {1: GONE} if dies == "the new one" else {}
    ear = Listener(FakeRecognizer(open_errors=errors, open_ms=0 if errors else 500), ears_rotate_s=1)
    await ear.open()
    await ear.listen(1600)
    if dies == "the new one":
        assert (ear.ears.rotations, ear.task.done()) == (0, False)
        await until(lambda: ear.ears.rotations == 1, ear)
    else:
        await ear.lose()
        assert isinstance(ear.facts[-1], RecognitionFailed)
        assert len(ear.recognizer.streams) <= 2
        assert not any(stream.is_open for stream in ear.recognizer.streams)
    await ear.close()


async def test_a_stream_that_never_finalises_is_replaced_before_its_partials_fill_the_line() -> None:
    """Otherwise after an hour every partial holds the whole call."""
    ear = Listener(FakeRecognizer(finalizes=False), ears_rotate_s=0)
    await ear.open()
    text = " ".join(f"word{k}" for k in range(COMMITTED_WORDS_MAX + 1))
    await ear.says(text)
    ear.ears.finalize()
    await ear.listen(1000)
    assert ear.said[-1] == text
    await until(lambda: ear.ears.rotations == 1, ear)
    await ear.says("word0 again")
    assert ear.said[-1] == "(word0 again)"
    await ear.close()
