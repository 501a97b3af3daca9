"""What is measured: the adapters behind the gateway's alignment, and how they get in."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.adapters import speex
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ
from voicefsm.bench.echo.subjects import GATE_NEED_MS, STANDARD, Adapted, entry, standard
from voicefsm.errors import SettingsError

TICK = 160
LEAD = AecSettings().reference_lead_ms * 16


class Recorder:
    """A canceller that keeps what it is given, and returns the microphone."""

    name = "recorder"

    def __init__(self):
        self.near, self.far = [], []

    def process(self, near, far):
        self.near.append(near.copy())
        self.far.append(far.copy())
        return near

    def close(self):
        pass


class LoudIsSpeech:
    def is_speech(self, frame):
        return bool(np.abs(frame).max() > 100)


def streamed(subject, near, far, *, offset=None):
    """Everything that comes out, and the belief after each piece; the client reports `offset` each 200 ms."""
    out, belief = [], []
    for at in range(0, len(near), TICK):
        if offset is not None and at % (20 * TICK) == 0:
            subject.on_ack(max(0, at - 20 * TICK), max(0, at - 20 * TICK) - offset)
        out.append(subject.process(near[at : at + TICK], far[at : at + TICK]).copy())
        belief.append(subject.near_end)
    return np.concatenate(out), belief


def noise(seed):
    return np.random.default_rng(seed).integers(-1000, 1000, 2 * RATE_HZ).astype(np.int16)


def test_frames_are_put_together_and_cut_again():
    """Otherwise the canceller would get other sound than the scene has, or the scene get other sound back."""
    recorder, near = Recorder(), noise(1)
    out, belief = streamed(Adapted(recorder, LoudIsSpeech(), AecSettings(), aligned=False), near, noise(2))
    assert np.array_equal(np.concatenate(recorder.near), near)
    assert np.array_equal(np.concatenate(recorder.far), noise(2))
    assert np.array_equal(out[TICK:], near[:-TICK])
    assert belief[:3] == [False, True, True]


@pytest.mark.parametrize("delay", [0, 100, 640, 6400, 14400])
def test_the_reference_is_aligned_by_the_reports(delay):
    """Otherwise a late client would be measured without the alignment that the gateway has."""
    recorder, far = Recorder(), noise(3)
    streamed(Adapted(recorder, LoudIsSpeech(), AecSettings(), aligned=True), noise(4), far, offset=delay)
    settled = np.concatenate(recorder.far)[RATE_HZ:]
    late = max(0, delay - LEAD)
    assert np.array_equal(settled, far[RATE_HZ - late : len(far) - late])


def test_without_reports_the_reference_is_what_was_sent():
    """Otherwise a subject would know what no gateway can know: when it was rendered."""
    recorder, far = Recorder(), noise(3)
    streamed(Adapted(recorder, LoudIsSpeech(), AecSettings(), aligned=True), noise(4), far)
    reference = np.concatenate(recorder.far)
    assert np.array_equal(reference, far[: len(reference)])


@pytest.mark.parametrize("name", [*standard(), "none"])
def test_every_subject_listens(name):
    """Otherwise a canceller could be on the list and not run."""
    out, belief = streamed(entry(name).make(None), noise(5), noise(6), offset=0)  # type: ignore[arg-type]
    assert len(out) == 2 * RATE_HZ
    assert set(map(type, belief)) == {bool}
    assert out[FRAME_SAMPLES:].any()


def test_others_are_found_by_module_and_function(monkeypatch, tmp_path):
    """Otherwise nobody could compare a canceller of their own."""
    (tmp_path / "my_canceller.py").write_text("def factory(scene):\n    return scene\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = entry("my_canceller:factory")
    assert found.make("scene") == "scene"  # type: ignore[arg-type,comparison-overlap]
    assert found.need_ms == GATE_NEED_MS


def test_what_is_not_installed_is_left_out_unless_asked_for(monkeypatch):
    """Otherwise the benchmark would not run where libspeexdsp is missing, or run without what was asked for."""
    assert set(standard()) <= set(STANDARD)
    monkeypatch.setattr(speex, "library", lambda: None)
    assert "aec3" in standard()
    assert "speex" not in standard()
    with pytest.raises(SettingsError, match="libspeexdsp"):
        entry("speex")


@pytest.mark.parametrize("name", ["nothing", "no_such_module:factory", "json:no_such_function"])
def test_what_is_not_there_is_said(name):
    """Otherwise the user would see a traceback, or an hour later an empty table."""
    with pytest.raises(SettingsError):
        entry(name)
