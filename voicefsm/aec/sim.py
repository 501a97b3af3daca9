"""The canceller and its gate behind the small interface of echo simulators: a scene goes through as it would through a session.

system = factory(scene)             scene is not looked at
system.on_ack(mic, far)             sample `far` of the reference was rendered while sample `mic` was captured
out = system.process(near, far)     10 ms each: what was captured, and what was sent; out is 10 ms late, or later (see below)
system.near_end                     the gate's belief after it

A gateway has sent more than is due; in a scene what is sent is sent just now, and echo may even come before it. So the near end
waits, and the output with it, until the reference can be read as far ahead as in a session: not at all where the echo is late.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from voicefsm.aec.judgement import Judgement
from voicefsm.aec.kalman import HOP_SAMPLES, KalmanCanceller
from voicefsm.aec.reference import Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples

_HELD_HOPS_MAX = 20


class EchoSystem:
    """One near end at 16 kHz."""

    def __init__(self, settings: AecSettings | None = None) -> None:
        settings = settings or AecSettings()
        self._judgement = Judgement(settings)
        self._canceller = KalmanCanceller()
        self._reference = Reference(RATE_HZ, settings)
        self._lead = settings.reference_lead_ms * SAMPLES_PER_MS
        self._ack: tuple[int, int] | None = None
        self._sent = self._captured = 0
        self._held: deque[Samples] = deque()
        """Hops of the near end that wait for their reference."""
        self._held_hops = 0
        self._near: list[Samples] = []
        self._out: list[Samples] = [np.zeros(HOP_SAMPLES, np.int16)]
        self.near_end = False
        """Somebody speaks at the near end."""

    @property
    def speech(self) -> float:
        """How likely that is by the gate alone: 0 to 1."""
        return self._canceller.speech

    def on_ack(self, mic_sample: int, far_sample: int) -> None:
        """A report of the client."""
        self._ack = (mic_sample, far_sample)
        early = far_sample - mic_sample + self._lead
        self._held_hops = min(max(self._held_hops, -(-early // HOP_SAMPLES)), _HELD_HOPS_MAX)

    def process(self, near: Samples, far: Samples) -> Samples:
        """One hop, shapes (160,)."""
        self._reference.append(self._sent, far)
        self._sent += len(far)
        self._held.append(near)
        self._near.append(self._held.popleft() if len(self._held) > self._held_hops else np.zeros(HOP_SAMPLES, np.int16))
        if len(self._near) == FRAME_SAMPLES // HOP_SAMPLES:
            frame = np.concatenate(self._near)
            self._near.clear()
            self._out.extend(np.split(self._frame(frame), FRAME_SAMPLES // HOP_SAMPLES))
        return self._out.pop(0)

    def _frame(self, near: Samples) -> Samples:
        reference = self._reference
        late = None if self._ack is None else self._ack[0] - self._ack[1] + self._held_hops * HOP_SAMPLES
        far = reference.rendered(None if late is None else max(0, self._captured - late))
        self._captured += FRAME_SAMPLES
        reference.tell(self._canceller)
        reference.heard(near)
        canceller = self._canceller
        out = canceller.process(near, far)
        self._judgement.judge(near, reference, canceller.powers, canceller.fit, canceller.speech)
        self._judgement.tell(canceller, reference)
        self.near_end = not self._judgement.echo_only
        return out


def factory(_scene: object) -> EchoSystem:
    """A system for one scene."""
    return EchoSystem()
