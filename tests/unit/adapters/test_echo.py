from __future__ import annotations

import sys

import numpy as np
import pytest

from voicefsm.adapters import speex, speex_swig
from voicefsm.adapters.echo import NullCanceller, choose_canceller
from voicefsm.aec import kalman
from voicefsm.aec.settings import AecSettings, Canceller
from voicefsm.errors import SettingsError


def test_auto_takes_our_own_where_it_was_compiled():
    """Otherwise the default is a canceller that nobody can interrupt well."""
    choice = choose_canceller(AecSettings())
    assert (choice.name == "kalman") == (kalman.library() is not None)
    choice.make().close()


def test_auto_takes_speex_where_nothing_was_compiled(monkeypatch):
    """Otherwise the recogniser gets AEC3's suppressed signal on machines that have a linear canceller; and nobody is told why."""
    monkeypatch.setattr(kalman, "library", lambda: None)
    choice = choose_canceller(AecSettings())
    assert choice.name == ("aec3" if speex.library() is None else "speex")
    assert "compile" in choice.reason
    canceller = choice.make()
    assert canceller.name == choice.name
    canceller.close()


def test_auto_takes_aec3_elsewhere_and_says_so(monkeypatch):
    """Otherwise a machine without libspeexdsp silently has no canceller, or another one than the log says."""
    monkeypatch.setattr(kalman, "library", lambda: None)
    monkeypatch.setattr(speex, "library", lambda: None)
    choice = choose_canceller(AecSettings())
    assert choice.name == "aec3"
    assert choice.make().name == "aec3"
    assert "libspeexdsp" in choice.reason


@pytest.mark.parametrize("asked", [Canceller.AEC3, Canceller.NONE])
def test_what_is_asked_for_is_given(asked):
    """Otherwise the setting does nothing."""
    choice = choose_canceller(AecSettings(canceller=asked))
    assert choice.name == choice.make().name == asked.value


def test_asking_for_a_missing_one_is_an_error_at_start(monkeypatch):
    """Otherwise the first caller finds out."""
    monkeypatch.setattr(speex, "library", lambda: None)
    monkeypatch.setattr(kalman, "library", lambda: None)
    monkeypatch.setitem(sys.modules, "speexdsp", None)
    for asked in (Canceller.KALMAN, Canceller.SPEEX, Canceller.SPEEXDSP):
        with pytest.raises(SettingsError):
            choose_canceller(AecSettings(canceller=asked))


def test_every_canceller_of_the_settings_can_be_chosen(monkeypatch):
    """Otherwise a documented value is a KeyError."""
    for module in (speex, speex_swig):
        monkeypatch.setattr(module, {speex: "SpeexCanceller", speex_swig: "SpeexDspCanceller"}[module], lambda _: NullCanceller())
    for asked in Canceller:
        choice = choose_canceller(AecSettings(canceller=asked))
        assert choice.reason.endswith(".")
        choice.make().close()


def test_none_leaves_the_near_end_alone():
    """Otherwise clients that cancel echo themselves are cancelled twice."""
    near = np.arange(320).astype(np.int16)
    assert NullCanceller().process(near, near) is near
