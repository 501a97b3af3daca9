"""The conversation that is cancelled at every point: a question, a backchannel, a barge-in, and an ASR stream that dies."""

from __future__ import annotations

from voicefsm.errors import BackendError
from voicefsm.ports import Hypothesis
from voicefsm.simulation.stage import saying
from voicefsm.values import Backend

STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on."
SPEECH = [(200, 1200), (2600, 2900), (3600, 4800)]
"""A question; a backchannel; a barge-in."""
LAST_MS = 6500


def scripts() -> list[list[tuple[int, Hypothesis | BackendError]]]:
    """What the recogniser hears: in its first stream, and in the one after that died."""
    gone = BackendError(Backend.ASR, "Gone.")
    first: list[tuple[int, Hypothesis | BackendError]] = [*saying((1200, "tell me a story")), (2000, gone)]
    second: list[tuple[int, Hypothesis | BackendError]] = [
        (700, Hypothesis("okay", is_final=False)),
        (2000, Hypothesis("wait what time is it", is_final=False)),
    ]
    return [first, second]
