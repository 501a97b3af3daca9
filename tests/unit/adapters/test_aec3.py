from __future__ import annotations

import numpy as np

from voicefsm.adapters.aec3 import Aec3Canceller


def test_twenty_milliseconds_are_two_of_its_frames():
    """Otherwise the wheel's own framing delays or drops audio: near-end sound alone comes back in its place."""
    canceller, silence = Aec3Canceller(), np.zeros(320, np.int16)
    pulse = np.zeros(3200, np.int16)
    pulse[1600] = 20000
    out = np.concatenate([canceller.process(pulse[i : i + 320], silence) for i in range(0, 3200, 320)])
    assert abs(int(np.abs(out.astype(int)).argmax()) - 1600) <= 160
    canceller.close()
