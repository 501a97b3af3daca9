"""What a gateway tells of itself: its metrics, read over HTTP as Prometheus reads them, and what a level has added to them."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from voicefsm.telemetry import families as fam

TIMEOUT_S = 10
COUNTED = (fam.BARGE_INS, fam.FALSE_BARGE_INS, fam.RESUMES, fam.STALE_FACTS, fam.CRASHES)
"""Counters without labels that are reported."""
AVERAGED = (fam.ERLE, fam.ECHO_DELAY)
"""Histograms without labels of which the mean is reported."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mean:
    """Of so many values, in the unit of the metric."""

    n: int
    mean: float
    """NaN of nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class LoopLag:
    """How late the timers of the gateway's loop were, in ms. A percentile is the bucket it lies in: at most so much."""

    n: int
    p50: float
    p95: float

    @classmethod
    def of(cls, buckets: Mapping[float, float]) -> LoopLag:
        """Of a cumulative histogram: upper bounds in seconds, and how many lie below. NaN of nothing."""
        n = max(buckets.values(), default=0)
        if not n:
            return cls(0, math.nan, math.nan)
        p50, p95 = (min(bound for bound, below in buckets.items() if below >= share * n) for share in (0.5, 0.95))
        return cls(round(n), p50 * 1000, p95 * 1000)


@dataclasses.dataclass(frozen=True, slots=True)
class Scraped:
    """What it has told until now, of all its workers together."""

    lag: Mapping[float, float]
    """The histogram of loop lag: upper bounds in seconds, and how many lie below."""
    counts: Mapping[str, int]
    """`COUNTED`, by name."""
    sums: Mapping[str, tuple[int, float]]
    """How many values `AVERAGED` have, and their sum, by name."""

    @classmethod
    def of(cls, exposition: str) -> Scraped:
        """Of the text format of Prometheus."""
        samples = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
        plain = {one.name: one.value for one in samples if not one.labels}
        return cls(
            lag={float(one.labels["le"]): one.value for one in samples if one.name == f"{fam.LOOP_LAG.name}_bucket"},
            counts={family.name: round(plain.get(family.name, 0)) for family in COUNTED},
            sums={
                family.name: (round(plain.get(f"{family.name}_count", 0)), plain.get(f"{family.name}_sum", 0.0))
                for family in AVERAGED
            },
        )

    @property
    def means(self) -> dict[str, Mean]:
        """Of `AVERAGED`, by name."""
        return {name: Mean(n, round(total / n, 4) if n else math.nan) for name, (n, total) in self.sums.items()}

    def since(self, before: Scraped) -> Scraped:
        """What was added."""
        return Scraped(
            lag={bound: below - before.lag.get(bound, 0) for bound, below in self.lag.items()},
            counts={name: count - before.counts[name] for name, count in self.counts.items()},
            sums={name: (n - before.sums[name][0], total - before.sums[name][1]) for name, (n, total) in self.sums.items()},
        )


async def scrape(port: int) -> str:
    """What is served on this port of ours, as it is; to be parsed when nothing is measured any more.

    Raises `OSError` or `HTTPException` where nothing is served, not all of it, or not in time.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is behind no proxy

    def get() -> str:
        with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as response:
            return str(response.read().decode())

    return await asyncio.to_thread(get)
