"""Transcripts: read, run, written."""

from __future__ import annotations

import pytest

from voicefsm.context import Context, Interruption, TurnSettings
from voicefsm.effects import SendTranscript
from voicefsm.events import (
    Evidence,
    FinalHeard,
    PartialHeard,
    RecognitionFailed,
    SessionOpened,
    SpeechStarted,
    Timer,
    TimerFired,
    Word,
)
from voicefsm.simulation import scenario

TEXT = """\
# A title.
set silence_ms=700 interruption="client_only"
set language_code="hi-IN"

0 SessionOpened
    what stands here is not read
1060 SpeechStarted onset_ms=1000 evidence.voiced_ms=60 evidence.erle_db=-3

# In between.
1900 FinalHeard text="a \\"b\\" = c" words=[{"text":"a","start_ms":0,"end_ms":10}]
2000 Timer WORDS
"""


def test_read():
    """Otherwise a scenario would run another conversation than it tells."""
    read = scenario.read(TEXT)
    assert read.settings == TurnSettings(silence_ms=700, interruption=Interruption.CLIENT_ONLY)
    assert read.language_code == "hi-IN"
    assert read.facts == (
        SessionOpened(0),
        SpeechStarted(1060, 1000, Evidence(voiced_ms=60, erle_db=-3)),
        FinalHeard(1900, 'a "b" = c', (Word("a", 0, 10),)),
        TimerFired(2000, Timer.WORDS),
    )


def test_written_again_it_is_the_same():
    """Otherwise every rewrite would be a difference."""
    once = scenario.write(scenario.read(TEXT))
    assert scenario.write(scenario.read(once)) == once
    given = [line for line in once.splitlines() if not line.startswith(scenario.INDENT)]
    assert given == [line for line in TEXT.splitlines() if not line.startswith(scenario.INDENT)]
    assert "    stale\n" in once


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("5 Nonsense", "Nonsense"),
        ("5 Timer NEVER", "NEVER"),
        ("soon SessionOpened", "soon"),
        ("5", "not enough values"),
        ("5 FinalHeard text=unquoted", "Expecting value"),
        ("5 FinalHeard words", "no field=value"),
        ('5 FinalHeard text="a" loud=true', "no field loud"),
        ("5 FinalHeard", "text"),
        ("set silence_ms=1", "silence_ms is 1"),
        ("set silence=500", "no setting silence"),
        ('set interruption="never"', "never"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(line, reason):
    """Otherwise a mistyped fact would be skipped, and its scenario would prove nothing."""
    with pytest.raises(scenario.ScenarioError, match=reason):
        scenario.read(f"# x\n{line}\n")


def test_a_transcript_of_facts_alone():
    """Otherwise a counterexample could not be kept."""
    facts = [SessionOpened(0), RecognitionFailed(10, "Gone.", retryable=False), SessionOpened(20)]
    text = scenario.transcript(facts, TurnSettings(silence_ms=700), language_code="hi-IN", title="Two\nlines")
    assert text.startswith('# Two\n# lines\nset silence_ms=700\nset language_code="hi-IN"\n\n0 SessionOpened\n')
    assert "    refused: SessionOpened cannot happen in CLOSED.\n" in text
    assert scenario.read(text).facts == tuple(facts)
    assert scenario.transcript([]) == "\n"


def test_run_describes_each_step():
    """Otherwise tools that show a session would have to compare contexts themselves."""
    taken = list(scenario.run(Context(), [SessionOpened(0), PartialHeard(10, "a")]))
    assert taken[1].moves == ("IDLE -> LISTENING",)
    assert taken[1].effects == (SendTranscript("a", is_final=False),)
    assert (taken[1].is_new_deadline, taken[1].deadline, taken[1].verdict) == (True, (510, Timer.END_OF_TURN), "")
