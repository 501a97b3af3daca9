"""Alerts, dashboards, runbooks: they name only what exists, and alerts fire when they should."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from voicefsm.load.crowd import crowd
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import stage
from voicefsm.processes import child, free_port
from voicefsm.telemetry.families import FAMILIES, LABELS, Kind

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
RULES = MONITORING / "rules.yaml"
GPU_RULES = MONITORING / "gpu_rules.yaml"
DCGM = {
    *("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_POWER_USAGE"),
    *("DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_DEV_XID_ERRORS"),
}
"""What NVIDIA's exporter has, as far as we use it."""
OTHERS_LABELS = {"le", "instance", "namespace", "pod", "Hostname", "gpu"}
"""Labels that Prometheus, Kubernetes or DCGM add."""
MAY_BE_NAN = re.compile("erle_db|echo_delay|resume_pause|llm_total|transitions|increase")
"""Of a load run without echo and without rejected barge-ins."""
ROUNDS_MAX = 3
"""Of load. In one there is all that is asked for, but on a machine that has other things to do."""


def samples() -> set[str]:
    """Every name that can be asked for."""
    names: set[str] = set()
    for family in FAMILIES:
        is_histogram = family.kind is Kind.HISTOGRAM
        names |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")} if is_histogram else {family.name}
    return names


def alerts(*files: Path) -> list[str]:
    return [alert for file in files or (RULES, GPU_RULES) for alert in re.findall(r"- alert: (\w+)", file.read_text())]


def queries() -> dict[str, list[str]]:
    """The expressions of each dashboard."""
    files = sorted((MONITORING / "dashboards").glob("*.json"))
    loaded = {file.stem: json.loads(file.read_text()) for file in files}
    return {name: [target["expr"] for panel in one["panels"] for target in panel["targets"]] for name, one in loaded.items()}


def expressions() -> list[str]:
    """Of everything that asks Prometheus something."""
    text = "\n".join(file.read_text() for file in (RULES, GPU_RULES))
    folded = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n\s+(?:for|labels):", text)
    return [" ".join(one.split()) for one in folded] + [one for many in queries().values() for one in many]


def test_only_names_that_exist_are_asked_for():
    """Otherwise an alert never fires, and a panel is empty for ever."""
    found = expressions()
    assert len(found) > 60
    asked = {name for one in found for name in re.findall(r"\b(?:voicefsm|voice_gateway|DCGM)_\w+", one)}
    assert len(asked) > 40
    assert asked - samples() - DCGM == set()


def test_only_labels_that_exist_are_asked_for():
    """Otherwise a sum is taken over everything, or over nothing."""
    known = set(LABELS) | OTHERS_LABELS
    for one in expressions():
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", one) for label in group.split(",")}
        matched = {label for braces in re.findall(r"\{([^}]*)\}", one) for label in re.findall(r"(\w+)\s*[=!]", braces)}
        assert grouped | matched <= known, one


def test_every_family_of_the_old_gateway_is_on_a_dashboard():
    """Otherwise it is kept for nobody."""
    shown = " ".join(one for many in queries().values() for one in many)
    assert [family.name for family in FAMILIES if family.name not in shown] == []


def test_every_alert_has_a_page_a_test_that_it_fires_and_one_that_it_does_not():
    """Otherwise somebody is woken at night and does not know why."""
    tests = "\n".join(file.read_text() for file in MONITORING.glob("*rules_test.yaml"))
    rules = "\n".join(file.read_text() for file in (RULES, GPU_RULES))
    assert len(alerts()) == len(set(alerts())) > 10
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(alerts())
    for alert in alerts():
        page = (RUNBOOKS / f"{alert}.md").read_text()
        assert all(part in page for part in ("**What users feel.**", "**How to confirm.**", "**What to do.**")), alert
        assert f"runbook: docs/operations/runbooks/{alert}.md" in rules
        assert f"name: {alert}, fires" in tests
        assert f"name: {alert}, does not fire" in tests


def program(name: str) -> str:
    """One of Debian's package prometheus. Skips loudly without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here (Debian: apt-get install prometheus): ALERTS AND DASHBOARDS WERE NOT RUN")
    return found


def test_alerts_fire_when_they_should_and_not_otherwise():
    """Otherwise the first test of an alert is the outage."""
    promtool = program("promtool")
    for rules in (RULES, GPU_RULES):
        for what, file in (("check", rules.name), ("test", f"{rules.stem}_test.yaml")):
            command = [promtool, what, "rules", file]
            done = subprocess.run(command, cwd=MONITORING, capture_output=True, encoding="utf-8", check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "SUCCESS" in done.stdout


async def test_every_query_of_the_dashboards_returns_data_of_a_gateway_under_load(tmp_path, monkeypatch):
    """Otherwise dashboards are drawings."""
    prometheus = program("prometheus")
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    metrics, web = free_port(), free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"rule_files: [{RULES}]\n"
        f"scrape_configs: [{{job_name: voicefsm, static_configs: [{{targets: ['127.0.0.1:{metrics}']}}]}}]\n"
    )
    command = [
        prometheus,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{web}",
    ]
    load = LoadSettings(out=tmp_path / "load", warm_s=0)
    async with (
        stage(load, ("server.sessions_max=4", f"metrics.port={metrics}", "metrics.sample_ms=200")) as running,
        child("prometheus", command, environment=dict(os.environ), log=tmp_path / "log", stop_ms_max=10_000),
    ):
        for _ in range(ROUNDS_MAX):
            callers = await crowd(running.gateway, 2, 10.0, load)
            assert not [error for caller in callers for error in caller.errors]
            await asyncio.sleep(3)  # three scrapes
            empty = await asyncio.to_thread(without_data, web)
            if not empty:
                break
        firing = await asyncio.to_thread(ask, web, "rules", {})
    assert not empty, "\n".join(empty)
    assert {rule["name"] for group in firing["groups"] for rule in group["rules"]} == set(alerts(RULES))
    assert all(rule["health"] in {"ok", "unknown"} for group in firing["groups"] for rule in group["rules"])


def ask(port: int, what: str, arguments: dict[str, str]) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.loads(response.read())["data"]


def without_data(port: int) -> list[str]:
    """The queries of all dashboards but the GPU's that have none."""
    asked = [(name, one) for name, many in queries().items() if name != "gpu" for one in many]
    return [f"{name}: {one}" for name, one in asked if not has_data(port, one)]


def has_data(port: int, expression: str) -> bool:
    """Whether there is a series, and a number in it, where this run has to have made one."""
    result = ask(port, "query", {"query": expression.replace("$__rate_interval", "1m")})["result"]
    return bool(result) and (
        MAY_BE_NAN.search(expression) is not None or any(not math.isnan(float(series["value"][1])) for series in result)
    )
