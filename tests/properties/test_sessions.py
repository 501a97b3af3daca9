"""Invariants of a whole session, held against what its client received and rendered: any conversation, client, line and end.

The record of a simulated client is the judge here. It knows which samples left the loudspeaker, and nothing of the core.
"""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.effects import Outcome
from voicefsm.errors import BackendError
from voicefsm.ports import Hypothesis
from voicefsm.runtime import messages
from voicefsm.runtime.session import Session
from voicefsm.simulation import virtual
from voicefsm.simulation.client import Habits
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer, FakeVoice, Heard
from voicefsm.simulation.stage import Stage, plan_with
from voicefsm.values import Backend, EndReason

TURN_MS = 6000
CHAR_MS = 60
"""Of the fake voice."""
STORIES = ("It is noon.", "Once upon a time there was a king.", "He had a long story to tell. It went on and on. Then it was over.")
OVER = {"nothing": "", "cough": "", "backchannel": "okay", "barge-in": "wait what time is it"}


@dataclasses.dataclass(frozen=True)
class Scene:
    """A conversation: in each turn the user asks, and does something over the answer."""

    over: tuple[str, ...]
    after_ms: int
    """How long after the question."""
    stories: tuple[str, ...]
    latency_ms: int
    ahead_ms: int
    reports: bool
    chunk_period_ms: int
    deaf_at_ms: int | None
    """When the ASR stream dies, on the first stream."""
    hoarse_at: int | None
    """The segment at which the voice breaks, in every reply."""
    ends_by: str
    ends_ms: int


scenes = st.builds(
    Scene,
    over=st.lists(st.sampled_from(sorted(OVER)), min_size=1, max_size=3).map(tuple),
    after_ms=st.integers(600, 3500),
    stories=st.lists(st.sampled_from(STORIES), min_size=1, max_size=3).map(tuple),
    latency_ms=st.sampled_from([0, 30, 120]),
    ahead_ms=st.sampled_from([200, 2000]),
    reports=st.booleans(),
    chunk_period_ms=st.sampled_from([5, 90]),
    deaf_at_ms=st.none() | st.integers(500, 9000),
    hoarse_at=st.none() | st.integers(0, 2),
    ends_by=st.sampled_from(["client", "shutdown"]),
    ends_ms=st.integers(1000, 3 * TURN_MS),
)


def speech_of(scene: Scene) -> tuple[list[tuple[int, int]], list[tuple[int, Heard]]]:
    """When the user is loud, and what a recogniser hears of it."""
    loud: list[tuple[int, int]] = []
    heard: list[tuple[int, Heard]] = []
    for nth, over in enumerate(scene.over):
        start_ms = nth * TURN_MS + 200
        loud.append((start_ms, start_ms + 600))
        heard.append((start_ms + 700, Hypothesis("tell me a story", is_final=True)))
        speaks_ms, length_ms = start_ms + 600 + scene.after_ms, 900 if over == "barge-in" else 200
        if over != "nothing":
            loud.append((speaks_ms, speaks_ms + length_ms))
        if OVER[over]:
            heard += [
                (speaks_ms + 300, Hypothesis(OVER[over], is_final=False)),
                (speaks_ms + 400, Hypothesis(OVER[over], is_final=True)),
            ]
    return loud, sorted(heard, key=lambda line: line[0])


def stage_of(scene: Scene, heard: list[tuple[int, Heard]]) -> Stage:
    scripts = [heard]
    if scene.deaf_at_ms is not None:
        before = [line for line in heard if line[0] <= scene.deaf_at_ms]
        scripts = [
            [*before, (scene.deaf_at_ms, None)],
            [(ms - scene.deaf_at_ms, what) for ms, what in heard if ms > scene.deaf_at_ms],
        ]
    errors = {} if scene.hoarse_at is None else {scene.hoarse_at: BackendError(Backend.TTS, "Hoarse.")}
    return Stage(
        plan_with(playout={"playout_ahead_ms_max": scene.ahead_ms}),
        recognizer=FakeRecognizer(scripts=scripts),
        model=FakeLanguageModel(scene.stories),
        synthesizer=FakeSynthesizer(FakeVoice(char_ms=CHAR_MS, chunk_period_ms=scene.chunk_period_ms), errors=errors),
    )


def played(scene: Scene) -> tuple[Stage, EndReason]:
    loud, heard = speech_of(scene)
    stage = stage_of(scene, heard)
    end = Session.shut_down if scene.ends_by == "shutdown" else Session.hang_up
    habits = Habits(latency_ms=scene.latency_ms, reports=scene.reports)
    ended = virtual.run(stage.play(speech=loud, script=[(scene.ends_ms, end)], habits=habits))
    return stage, ended.reason


# --- what must hold ----------------------------------------------------------------------------------------------------------


def invariant_1_nothing_after_the_cut(stage: Stage) -> None:
    cancelled: set[int] = set()
    for message in (received.message for received in stage.client.received):
        if getattr(message, "epoch", 0) in cancelled:
            assert isinstance(message, messages.TurnCompleted), message
        if isinstance(message, messages.CancelTts):
            cancelled.add(message.epoch)


def invariant_2_the_client_is_flushed(stage: Stage) -> None:
    """Whatever it had been sent, it renders one block of fade and no more."""
    client = stage.client
    for received in client.received:
        if isinstance(received.message, messages.CancelTts):
            late = [b for b in client.rendered if b.at_ms > received.at_ms + client.habits.frame_ms]
            assert not [span for block in late for span in block.spans if span.epoch == received.message.epoch]


def invariant_6_heard_is_history(stage: Stage, scene: Scene) -> None:
    """What the model is told is what was heard; what counts as heard was rendered, and is the beginning of what was written."""
    turns = stage.client.all(messages.TurnCompleted)
    for turn in turns:
        assert turn.assistant_text.startswith(turn.heard_text)
        if scene.reports:
            assert len(turn.heard_text) * CHAR_MS <= len(stage.client.heard(turn.epoch)) / 16 + 2 * CHAR_MS
        if turn.outcome is Outcome.COMPLETED:
            assert turn.heard_text == turn.assistant_text
    told = [m.content for m in stage.model.requests[-1].messages if m.role == "assistant"] if stage.model.requests else []
    heard = [turn.heard_text for turn in turns if turn.heard_text]
    assert "\n".join(heard).startswith("\n".join(told)), "no more, and in order"
    assert len("\n".join(told).splitlines()) >= len(heard) - 1, "and nothing is missing but the last"


def invariant_11_an_end_is_told(stage: Stage, scene: Scene, reason: EndReason) -> None:
    assert reason is (EndReason.SHUTDOWN if scene.ends_by == "shutdown" else EndReason.CLIENT)
    begun = {text.epoch for text in stage.client.all(messages.AudioOutput)}
    ended = {turn.epoch for turn in stage.client.all(messages.TurnCompleted)}
    taken_back = {cancel.epoch for cancel in stage.client.all(messages.CancelTts)}
    assert begun <= ended | taken_back, "every reply that was sent has an end"


def invariant_12_nothing_outlives_a_session(stage: Stage, scene: Scene) -> None:
    assert not stage.remains()
    limit = (scene.ahead_ms + stage.plan.playout.piece_ms) * 16
    for received in stage.client.received:
        if isinstance(received.message, messages.AudioOutput) and not scene.latency_ms and scene.reports:
            assert received.message.first_sample + len(received.message.samples) - received.position <= limit + 2 * 320


def invariant_13_no_audio_is_lost(stage: Stage, scene: Scene) -> None:
    """Every sample reaches a recogniser, whichever of its streams."""
    sent_ms = sum(stream.received_ms for stream in stage.recognizer.streams)
    waits_ms = 200 if scene.deaf_at_ms is not None else 0  # a stream that is not open again at the end
    assert scene.ends_ms - sent_ms <= waits_ms + 2 * 20 + scene.latency_ms


@settings(max_examples=settings().max_examples * 2 // 5, deadline=None, derandomize=settings().max_examples <= 100)
@given(scenes)
def test_sessions(scene):
    """Otherwise there is a conversation, a client or a line with which a user has a complaint that other engines are known for."""
    stage, reason = played(scene)
    invariant_1_nothing_after_the_cut(stage)
    invariant_2_the_client_is_flushed(stage)
    invariant_6_heard_is_history(stage, scene)
    invariant_11_an_end_is_told(stage, scene, reason)
    invariant_12_nothing_outlives_a_session(stage, scene)
    invariant_13_no_audio_is_lost(stage, scene)
