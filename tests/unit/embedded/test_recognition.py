from __future__ import annotations

import itertools

import numpy as np
import pytest

from voicefsm.embedded.endpointing import FRAME_MS, Windows
from voicefsm.embedded.pocketsphinx_engine import HeardWord
from voicefsm.embedded.recognition import FIRST_PASS, UNSTABLE, Hearing, Recognition, Result

RATE_HZ = 16000
HEARING = Hearing(
    windows=Windows(start_frames=4, start_share=0.5, stop_frames=40, stop_share=1.0, first_pass_frames=10, first_pass_share=1.0),
    vad_mode=2,
    pre_roll_frames=10,
    utterance_frames_max=500,
)


class FakeDecoder:
    """Hears one word for each 100 ms it is given, called after how many samples it got by then."""

    def __init__(self) -> None:
        self.utterances: list[list[np.ndarray]] = []
        self.is_open = False

    def start(self, pre_roll: np.ndarray) -> None:
        assert not self.is_open
        self.is_open = True
        self.utterances.append([pre_roll])

    def process(self, samples: np.ndarray) -> None:
        assert self.is_open
        self.utterances[-1].append(samples)

    @property
    def samples(self) -> int:
        return sum(map(len, self.utterances[-1]))

    def partial(self) -> str:
        assert self.is_open
        return " ".join(word.text for word in self._words())

    def finish(self) -> list[HeardWord]:
        assert self.is_open
        self.is_open = False
        return self._words()

    def _words(self) -> list[HeardWord]:
        return [HeardWord(f"w{n}", n * 100, n * 100 + 100, 1.0) for n in range(self.samples // 1600)]


def voice(ms: int) -> np.ndarray:
    """Something the voice activity detector takes for speech."""
    t = np.arange(ms * 16) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    return (6000 * buzz * (1 + 0.5 * np.sin(2 * np.pi * 4 * t)) / 2).astype(np.int16)


def silence(ms: int) -> np.ndarray:
    return np.zeros(ms * 16, np.int16)


def hear(recognition: Recognition, *parts: np.ndarray, chunk_ms: int = 80) -> list[Result]:
    samples = np.concatenate(parts)
    size = chunk_ms * 16
    return [result for begin in range(0, len(samples), size) for result in recognition.hear(samples[begin : begin + size])]


def finals(results: list[Result]) -> list[Result]:
    return [result for result in results if result.is_final]


@pytest.fixture
def decoder() -> FakeDecoder:
    return FakeDecoder()


@pytest.fixture
def recognition(decoder) -> Recognition:
    return Recognition(decoder, HEARING)


def test_silence_is_not_decoded(recognition, decoder):
    """Otherwise every muted client costs a fifth of a core."""
    assert hear(recognition, silence(5000)) == []
    assert decoder.utterances == []


def test_an_utterance_has_partials_a_first_pass_and_a_final_that_agrees(recognition):
    """Otherwise the gateway cannot speculate on the first pass."""
    results = hear(recognition, silence(1000), voice(1000), silence(1500))
    kinds = [(result.is_final, result.stability) for result in results]
    first_pass = kinds.index((False, FIRST_PASS))
    assert set(kinds[:first_pass]) == {(False, UNSTABLE)}
    assert kinds[first_pass + 1 :] == [(True, 1.0)]
    assert results[-1].text == results[first_pass].text != ""


def test_the_decoder_gets_the_pre_roll(recognition, decoder):
    """Otherwise the first sound of each utterance is lost."""
    before = 100 * (np.arange(16000, dtype=np.int16) % 3)
    hear(recognition, before, voice(600), silence(600))
    first = np.concatenate(decoder.utterances[0])
    difference = first[: HEARING.pre_roll_frames * 320] - before[-HEARING.pre_roll_frames * 320 :]
    assert np.abs(difference).max() < 50  # the noise floor that is laid under everything


def test_digital_silence_is_never_decoded_as_such(recognition, decoder):
    """Otherwise the recogniser takes the room's own noise for speech wherever it follows zeros, and adds words."""
    hear(recognition, silence(500), voice(600), silence(600))
    assert np.std(decoder.utterances[0][0][:3200]) > 1


def test_words_carry_stream_time(recognition):
    """Otherwise words of the second utterance seem to lie in the first."""
    results = finals(hear(recognition, silence(1000), voice(600), silence(1500), voice(600), silence(1500)))
    begins = [result.words[0].start_ms for result in results]
    before_ms = (HEARING.pre_roll_frames + HEARING.windows.start_frames) * FRAME_MS
    for begin, onset in zip(begins, (1000, 3100), strict=True):
        assert onset - before_ms <= begin <= onset


def test_a_pause_within_an_utterance_joins_its_parts(recognition, decoder):
    """Otherwise a speaker who thinks is cut in two."""
    results = hear(recognition, silence(500), voice(600), silence(500), voice(600), silence(1200))
    (final,) = finals(results)
    assert len(decoder.utterances) == 2
    assert final.text.split().count("w0") == 2
    assert [word.start_ms for word in final.words] == sorted(word.start_ms for word in final.words)
    first_passes = [result.text for result in results if result.stability == FIRST_PASS and not result.is_final]
    assert final.text == first_passes[-1]
    assert final.text.startswith(first_passes[0])


def test_no_sample_is_decoded_twice(recognition, decoder):
    """Otherwise the word before a pause is heard again after it."""
    hear(recognition, silence(500), voice(600), silence(500), voice(600), silence(1200))
    first, second = (np.concatenate(utterance) for utterance in decoder.utterances)
    assert len(first) + len(second) <= (600 + 500 + 600 + 500) * 16 + HEARING.windows.stop_frames * 320


def test_force_ends_the_utterance_at_once_and_the_next_one_begins(recognition):
    """Otherwise the gateway's own endpointing has no effect, or costs the stream."""
    hear(recognition, silence(500), voice(600))
    (final,) = recognition.force()
    assert final.is_final
    assert final.text
    assert len(finals(hear(recognition, silence(500), voice(600), silence(1200)))) == 1


def test_force_without_speech_says_nothing(recognition):
    """Otherwise every cough of the gateway's own detector makes an empty turn."""
    hear(recognition, silence(1000))
    assert recognition.force() == []


def test_force_after_the_final_says_nothing_twice(recognition):
    """Otherwise the same words are two turns."""
    assert len(finals(hear(recognition, silence(500), voice(600), silence(1200)))) == 1
    assert recognition.force() == []


def test_an_endless_utterance_is_cut(decoder):
    """Otherwise a radio in the room fills the memory."""
    hearing = Hearing(HEARING.windows, HEARING.vad_mode, HEARING.pre_roll_frames, utterance_frames_max=100)
    results = finals(hear(Recognition(decoder, hearing), silence(200), voice(7000)))
    assert len(results) >= 2
    assert max(sum(map(len, utterance)) for utterance in decoder.utterances) <= 101 * 320 + HEARING.pre_roll_frames * 320


@pytest.mark.parametrize("chunk_ms", [20, 33, 1000])
def test_chunks_do_not_change_what_is_heard(chunk_ms):
    """Otherwise a replay faster than real time gives another text than live."""
    parts = (silence(500), voice(700), silence(500), voice(500), silence(1200), voice(400), silence(1200))
    expected = finals(hear(Recognition(FakeDecoder(), HEARING), *parts))
    assert len(expected) == 2
    assert finals(hear(Recognition(FakeDecoder(), HEARING), *parts, chunk_ms=chunk_ms)) == expected


def test_the_same_partial_is_told_once(recognition):
    """Otherwise the gateway takes repetition for news."""
    partials = [result for result in hear(recognition, silence(500), voice(2000), silence(1200)) if not result.is_final]
    assert all(one != following for one, following in itertools.pairwise(partials))


@pytest.mark.parametrize("chunk_ms", [20, 80, 1000])
def test_the_decoder_gets_the_same_calls_however_audio_is_cut(chunk_ms):
    """Otherwise a recording is heard differently than the same audio live: the decoder's mean moves with each call."""
    decoder = FakeDecoder()
    hear(Recognition(decoder, HEARING), silence(500), voice(600), silence(1500), chunk_ms=chunk_ms)
    ((_, *calls),) = decoder.utterances
    assert {len(call) for call in calls} == {320}
