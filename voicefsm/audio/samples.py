"""The one internal format: mono PCM16 at 16 kHz in frames of 20 ms.

Everything beyond `audio.frame` counts its media time in samples of this clock; 16 of them are a millisecond.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""Mono PCM, shape (n,)."""

RATE_HZ = 16000
"""The internal sample rate."""

FRAME_MS = 20
"""Length of a frame."""

FRAME_SAMPLES = RATE_HZ * FRAME_MS // 1000
"""Samples of a frame: 320."""

SAMPLES_PER_MS = RATE_HZ // 1000
"""Samples of a millisecond: 16."""

RATES_HZ = (8000, 16000, 24000, 48000)
"""The sample rates clients may use."""

SILENT_FRAME: Samples = np.zeros(FRAME_SAMPLES, np.int16)
SILENT_FRAME.flags.writeable = False
