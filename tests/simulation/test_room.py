"""Whole sessions with a loudspeaker in a room, and a client that never says what it rendered.

The room, the voices and the network are seeded, time is virtual. The canceller, the gate and the voice detector are the real ones.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.acoustics.delay import Delay
from voicefsm.acoustics.echo_path import EchoPath
from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import pcm, room_noise
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.aec import kalman
from voicefsm.aec.metrics import power
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.runtime import messages
from voicefsm.runtime.plan import Senses
from voicefsm.runtime.session import Session
from voicefsm.simulation.acoustics import voice
from voicefsm.simulation.client import Habits
from voicefsm.simulation.fakes import FakeLanguageModel, FakeSynthesizer, FakeVoice
from voicefsm.simulation.stage import Stage
from voicefsm.values import CancelReason

pytestmark = [
    pytest.mark.looptime,
    pytest.mark.skipif(kalman.library() is None, reason="the canceller was not compiled: no C compiler was there"),
]

ASKED_MS, OVER_MS = 300, 12_000
CONVERGED_MS = 6000
"""By then the echo was found, and learnt."""
RETURN_LOSS_DB, NOISE_DB, ASSISTANT_DB, USER_DB = 10.0, -70.0, -20.0, -26.0
STORY = "Once upon a time there was a fox who lived in a forest with many trees. " * 3


class Room:
    """A loudspeaker and a user at one microphone."""

    def __init__(self, seed: int, delay_ms: float, user_from_ms: int | None) -> None:
        self._path = EchoPath(
            responses(random_room(seed, rt60_s=0.3)).echo, loss_db=RETURN_LOSS_DB, delay=Delay(delay_ms, drift_ppm=50)
        )
        self._near = room_noise(np.random.default_rng(seed), (OVER_MS + 1000) * RATE_HZ // 1000, NOISE_DB)
        if user_from_ms is not None:
            user = voice(seed + 100, 1.5, level_db=USER_DB, pitch_hz=200)
            self._near[user_from_ms * RATE_HZ // 1000 :][: len(user)] += user
        self._at = 0

    def hear(self, rendered: Samples) -> Samples:
        """The microphone, while this is rendered."""
        near = self._near[self._at : self._at + FRAME_SAMPLES]
        self._at += FRAME_SAMPLES
        return pcm(self._path.process(rendered) + near)


class Canceller(kalman.KalmanCanceller):
    """Remembers what it achieved."""

    def __init__(self) -> None:
        super().__init__()
        self.powers_seen: list[tuple[float, float]] = []

    def process(self, near: Samples, far: Samples, *, speech: float = kalman.ASK_THE_GATE) -> Samples:
        out = super().process(near, far, speech=speech)
        self.powers_seen.append((power(near), power(out)))
        return out

    def erle_db(self, from_ms: int) -> float:
        """Of everything from then on."""
        before, after = np.sum(self.powers_seen[from_ms // 20 :], axis=0)
        return float(10 * np.log10(before / after))


@dataclasses.dataclass
class Played:
    """What came of a session."""

    stage: Stage
    canceller: Canceller

    def cancels(self) -> list[tuple[int, CancelReason]]:
        """When, and why, the assistant was cut."""
        received = self.stage.client.received
        return [(r.at_ms, r.message.reason) for r in received if isinstance(r.message, messages.CancelTts)]

    def pauses(self) -> list[int]:
        """When the assistant was paused."""
        return [r.at_ms for r in self.stage.client.received if isinstance(r.message, messages.PausePlayout)]

    def alignment(self) -> dict[str, object]:
        """What the journal says at the end."""
        return next(body["alignment"] for kind, _, body in self.stage.journal.records if kind == "end")


async def play(seed: int, delay_ms: float, *, jitter_ms: int, user_from_ms: int | None = None) -> Played:
    """One typed question and a long answer, over a network of 40 ms each way."""
    canceller = Canceller()

    class RoomStage(Stage):
        def senses(self) -> Senses:
            return Senses(self.recognizer, self.model, self.synthesizer, lambda: canceller, WebRtcVoiceDetector)

    speech = pcm(voice(seed, 20, level_db=ASSISTANT_DB))
    sound = FakeVoice(sound=lambda first, count: speech[first : first + count])
    stage = RoomStage(model=FakeLanguageModel([STORY]), synthesizer=FakeSynthesizer(sound))
    room = Room(seed, delay_ms, user_from_ms)
    habits = Habits(reports=False, latency_ms=40, jitter_ms=jitter_ms, room=room.hear)
    await stage.play(script=[(ASKED_MS, lambda s: s.type_text("Tell me.")), (OVER_MS, Session.hang_up)], habits=habits)
    return Played(stage, canceller)


@pytest.mark.parametrize(("seed", "delay_ms", "jitter_ms"), [(1, 80, 0), (2, 200, 60), (3, 400, 60)])
async def test_who_never_reports_is_not_interrupted_by_his_loudspeaker(seed, delay_ms, jitter_ms):
    """Otherwise the assistant hears itself wherever a client does not say what it rendered, and cuts itself off."""
    played = await play(seed, delay_ms, jitter_ms=jitter_ms)
    assert not [why for _, why in played.cancels() if why is CancelReason.BARGE_IN]
    assert [at for at in played.pauses() if at > CONVERGED_MS] == []
    assert len(played.pauses()) <= 3
    assert played.canceller.erle_db(CONVERGED_MS) > 8
    alignment = played.alignment()
    assert alignment["source"] == "estimated"
    assert 0 < float(str(alignment["echo_ms"])) - delay_ms - 2 * 40 < 4 * jitter_ms + 60, "network and room come on top"


async def test_who_never_reports_can_still_interrupt():
    """Otherwise a client without reports would have an assistant that nobody can stop."""
    user_from_ms = 7000
    played = await play(4, 200, jitter_ms=60, user_from_ms=user_from_ms)
    ((cancelled_ms, why),) = played.cancels()
    assert why is CancelReason.BARGE_IN
    pauses = [at for at in played.pauses() if at >= user_from_ms]
    assert user_from_ms < pauses[0] <= user_from_ms + 500
    assert cancelled_ms <= user_from_ms + 1600
