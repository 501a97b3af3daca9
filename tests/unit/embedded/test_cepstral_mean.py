from __future__ import annotations

import numpy as np
import pytest

from voicefsm.embedded.cepstral_mean import EVIDENCE_FRAMES_MAX, GUESS, GUESS_FRAMES, TOLD_FRAMES, CepstralMean, Evidence


def heard(frames: int, value: float) -> Evidence:
    """Evidence of `frames` cepstra that are all `value`, as pocketsphinx would report it."""
    evidence = Evidence()
    samples = 410 + 160 * (frames - 1)
    after = (GUESS * TOLD_FRAMES + value * frames) / (TOLD_FRAMES + frames)
    evidence.gather(samples, GUESS, ",".join(map(repr, after.tolist())).encode())
    return evidence


def test_the_sum_follows_from_the_means_before_and_after():
    """Otherwise the mean is wrong, and everything is misheard."""
    evidence = heard(100, 7.0)
    assert evidence.frames == 100
    assert np.allclose(evidence.total, 700.0)


def test_less_than_a_window_is_no_evidence():
    """Otherwise the first chunk divides by frames that do not exist yet."""
    evidence = Evidence()
    evidence.gather(400, GUESS, ",".join(map(repr, GUESS.tolist())).encode())
    assert evidence.frames == 0
    assert np.allclose(evidence.total, 0.0)


def test_silence_before_the_onset_is_no_evidence():
    """Otherwise the quiet before the first word makes the guess worse instead of better."""
    evidence = heard(100, 7.0)
    evidence.forget()
    assert evidence.frames == 0
    after = (GUESS * TOLD_FRAMES + 3.0 * 50) / (TOLD_FRAMES + 50)
    evidence.gather(160 * 50, GUESS, ",".join(map(repr, after.tolist())).encode())
    assert evidence.frames == 50
    assert np.allclose(evidence.total, 150.0)


@pytest.mark.parametrize(
    ("known", "in_use", "heard_frames", "is_worth"),
    [(30, 30, 29, False), (30, 30, 30, True), (30, 30, 60, True), (30, 30, 61, False), (90, 60, 30, True), (90, 90, 60, False)],
)
def test_a_new_beginning_is_worth_it_when_the_evidence_doubled_and_the_utterance_is_young(known, in_use, heard_frames, is_worth):
    """Otherwise first words are misheard, or a long sentence is decoded again at its end and its answer comes late."""
    evidence = heard(heard_frames, 7.0)
    assert evidence.is_worth_a_new_beginning(CepstralMean(GUESS, known), CepstralMean(GUESS, in_use)) is is_worth


def test_the_guess_is_soon_outweighed():
    """Otherwise the first sentence of a session is heard with somebody else's voice in mind."""
    mean = CepstralMean(GUESS).with_evidence(heard(9 * GUESS_FRAMES, 7.0))
    assert np.allclose(mean.values, 0.1 * GUESS + 0.9 * 7.0)


def test_old_evidence_fades():
    """Otherwise a speaker who moves away after an hour is never heard well again."""
    mean = CepstralMean(GUESS)
    for _ in range(10):
        mean = mean.with_evidence(heard(1000, 7.0))
    assert mean.frames == EVIDENCE_FRAMES_MAX
    assert np.abs(mean.with_evidence(heard(EVIDENCE_FRAMES_MAX, 1.0)).values - 4.0).max() < 0.01


def test_it_is_told_as_pocketsphinx_reads_it():
    """Otherwise the decoder keeps its own guess."""
    told = CepstralMean(np.arange(13.0)).told().split(b",")
    assert [float(value) for value in told] == list(range(13))
