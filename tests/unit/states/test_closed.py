"""CLOSED."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "fact",
    [
        "SpeechStarted onset_ms=10", "EvidenceChanged", "SpeechEnded last_voiced_ms=10",
        'PartialHeard text="a"', 'FinalHeard text="a"',
        'TextReceived text="a"', "SpeechFinished", "ClientCancelled epoch=0", "ClientClosed", "ShutdownRequested",
        'RecognitionFailed message="a" retryable=true', "RecognitionOpened",
    ],
)  # fmt: skip
def test_nothing_is_ordered_after_the_end(did, fact):
    """Otherwise a session that is over would open streams that nobody closes."""
    lines = did("closed", f"20 {fact}")
    assert [line for line in lines if not line.startswith("near_end")] == []


def test_timers_are_stale(did):
    """Otherwise a deadline could reopen a closed session."""
    assert did("closed", "7200000 Timer AGE") == ["stale"]
