"""From the text of a scrape to figures."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from voicefsm.load.scrape import LoopLag, Mean, Scraped
from voicefsm.telemetry import families as fam
from voicefsm.telemetry.families import FAMILIES
from voicefsm.telemetry.metrics import Metrics


def test_what_is_read_is_what_was_kept():
    """Otherwise a name changes, and the loop is never late any more."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for lag_s in (0.0005, 0.004, 0.004, 7.0):
        metrics.observe(fam.LOOP_LAG, lag_s)
    metrics.count(fam.BARGE_INS, by=3)
    metrics.observe(fam.ERLE, 12.0)
    metrics.observe(fam.ERLE, 17.0)
    scraped = Scraped.of(generate_latest(registry).decode())
    assert set(scraped.lag) == {*fam.LAG_SECONDS, math.inf}
    assert (scraped.lag[0.001], scraped.lag[0.005], scraped.lag[1.0], scraped.lag[math.inf]) == (1, 3, 3, 4)
    assert scraped.counts[fam.BARGE_INS.name] == 3
    assert scraped.counts[fam.CRASHES.name] == 0
    assert set(scraped.counts) | set(scraped.sums) < {family.name for family in FAMILIES}
    assert scraped.means[fam.ERLE.name] == Mean(2, 14.5)
    assert scraped.means[fam.ECHO_DELAY.name].n == 0
    assert math.isnan(scraped.means[fam.ECHO_DELAY.name].mean)


@pytest.mark.parametrize(
    ("buckets", "n", "p50", "p95"),
    [
        ({0.001: 95, 0.002: 100, math.inf: 100}, 100, 1.0, 1.0),
        ({0.001: 49, 0.002: 94, 0.005: 100, math.inf: 100}, 100, 2.0, 5.0),
        ({0.001: 0, math.inf: 1}, 1, math.inf, math.inf),
    ],
)
def test_a_percentile_is_the_bucket_it_lies_in(buckets, n, p50, p95):
    """Otherwise a lag is told that nobody has measured."""
    assert LoopLag.of(buckets) == LoopLag(n, p50, p95)


def test_nothing_has_no_percentile():
    """Otherwise a gateway that tells nothing has no lag."""
    lag = LoopLag.of({})
    assert lag.n == 0
    assert math.isnan(lag.p95)
