"""Metrics of real gateways, scraped over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from voicefsm import app
from voicefsm.config import Settings
from voicefsm.errors import SettingsError
from voicefsm.load.crowd import crowd
from voicefsm.load.scrape import scrape as text_of
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import stage
from voicefsm.processes import children_of, free_port
from voicefsm.telemetry.exposition import MetricsSettings
from voicefsm.telemetry.families import FAMILIES, Kind

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Scraped: TypeAlias = dict[str, Metric]


async def scrape(port: int) -> Scraped:
    """By name as it is declared."""
    found = {metric.name: metric for metric in text_string_to_metric_families(await text_of(port))}
    return {name + "_total" if metric.type == "counter" else name: metric for name, metric in found.items()}


def value(scraped: Scraped, sample: str, **labels: str) -> float:
    """The sum of what has these labels."""
    samples = (one for metric in scraped.values() for one in metric.samples if one.name == sample)
    return sum(one.value for one in samples if labels.items() <= one.labels.items())


async def eventually(port: int, holds: Callable[[Scraped], bool]) -> Scraped:
    async with asyncio.timeout(20):
        while not holds(scraped := await scrape(port)):  # noqa: ASYNC110 (the other end is a server)
            await asyncio.sleep(0.1)
    return scraped


def assert_all_names(scraped: Scraped) -> None:
    kinds = {family.name: family.kind.value for family in FAMILIES}
    assert {name: metric.type for name, metric in scraped.items()} == kinds
    assert all(scraped[family.name].documentation == family.doc for family in FAMILIES)


async def test_every_name_is_there_before_the_first_session_and_values_after_a_conversation(world: WorldOf) -> None:
    """Otherwise alerts on what never happened yet are errors, and dashboards stay empty."""
    port = free_port()
    async with world(metrics={"port": port, "sample_ms": 20}, replies=("It is noon.",)) as w:
        scraped = await scrape(port)
        assert_all_names(scraped)
        assert value(scraped, "voice_gateway_active_streams") == 0
        async with w.connect() as conversation:
            await w.turn(conversation, "what time is it")
            scraped = await eventually(port, lambda now: value(now, "voicefsm_sessions", state="idle", draining="false") == 1)
            assert value(scraped, "voice_gateway_active_streams") == 1
        scraped = await eventually(port, lambda now: value(now, "voice_gateway_requests_total", status="ok") == 1)
        assert value(scraped, "voicefsm_turns_total", outcome="completed") == 1
        assert value(scraped, "voice_gateway_tts_characters_total_sum", language="en-US") == len("It is noon.")
        assert value(scraped, "voice_gateway_llm_tokens_total_count") == 1
        assert value(scraped, "voice_gateway_active_streams") == 0
        assert value(scraped, "voicefsm_breaker_state", state="closed") == 3
        assert value(scraped, "voicefsm_sessions_max") == w.settings.server.sessions_max
        assert value(scraped, "voicefsm_event_loop_lag_seconds_count") > 1
        assert value(scraped, "voicefsm_resident_bytes") > 10_000_000
        assert value(scraped, "voicefsm_transitions_total", before="processing", after="speaking") == 1
    with pytest.raises(OSError, match="refused"):
        await scrape(port)


async def test_a_metrics_port_that_is_taken_is_told() -> None:
    """Otherwise a gateway runs for weeks without anybody seeing it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(metrics=MetricsSettings(port=taken.getsockname()[1]))
        with pytest.raises(SettingsError, match="Cannot serve metrics"):
            async with app.running(settings):
                pass


async def test_nothing_is_served_unless_wanted(world: WorldOf) -> None:
    """Otherwise two gateways on one machine cannot start."""
    port = free_port()
    async with world(metrics={"port": port, "enabled": False}):
        with pytest.raises(OSError, match="refused"):
            await scrape(port)


async def test_workers_sum_and_the_dead_are_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a graph of two workers shows one of them, by chance; or a crash makes counters fall."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    port, load = free_port(), LoadSettings(out=tmp_path, warm_s=0)
    overrides = ("server.workers=2", "server.sessions_max=20", f"metrics.port={port}", "metrics.sample_ms=100")
    async with stage(load, overrides, workers=2) as running:
        assert_all_names(await scrape(port))
        before = await eventually(port, lambda now: value(now, "voicefsm_ready") == 2)
        assert value(before, "voice_gateway_active_streams") == 0
        talking = asyncio.create_task(crowd(running.gateway, 6, 10.0, load))
        await eventually(port, lambda now: value(now, "voice_gateway_active_streams") == 6)
        callers = await talking
        assert not [error for caller in callers for error in caller.errors]
        after = await eventually(port, lambda now: value(now, "voice_gateway_requests_total") == 6)
        assert value(after, "voice_gateway_active_streams") == 0
        assert value(after, "voicefsm_sessions_max") == 20
        cuts = sum(len(caller.cancel_ms) for caller in callers)
        assert cuts >= 1
        barge_ins = value(after, "voicefsm_barge_ins_total")
        assert 1 <= value(after, "voicefsm_barge_in_seconds_count", part="total") <= barge_ins
        # What is cut before the client has heard of it is no barge-in yet: the user went on.
        retracted = value(after, "voicefsm_turns_total", outcome="retracted")
        assert barge_ins <= value(after, "voicefsm_turns_total", outcome="interrupted")
        assert cuts <= value(after, "voicefsm_turns_total", outcome="interrupted") + retracted
        assert value(after, "voicefsm_barge_in_seconds_count", part="decision") == value(after, "voicefsm_barge_ins_total")
        assert value(after, "voicefsm_barge_in_seconds_bucket", part="total", le="+Inf") == value(
            after, "voicefsm_barge_in_seconds_count", part="total"
        )
        assert running.process is not None
        pid = running.process.pid
        os.kill(children_of(pid)[0], signal.SIGKILL)
        await eventually(port, lambda now: value(now, "voicefsm_ready") == 1)
        again = await eventually(port, lambda now: value(now, "voicefsm_ready") == 2)
        for family in FAMILIES:
            if family.kind is Kind.COUNTER:
                assert value(again, family.name) >= value(after, family.name), family.name
        assert value(again, "voice_gateway_requests_total") == 6
