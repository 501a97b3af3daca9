"""A latency in a few numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a latency, in ms; NaN of nothing."""

    n: int
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Of these."""
        if not values:
            return cls(0, float("nan"), float("nan"), float("nan"))
        p50, p95, most = np.percentile(values, [50, 95, 100])
        return cls(len(values), round(float(p50), 1), round(float(p95), 1), round(float(most), 1))
