"""The Grafana dashboards in deploy/monitoring/dashboards, from the few lines that tell them apart. `make dashboards` writes them.

usage: python scripts/dashboards.py      # prints a JSON object: file name -> dashboard
"""

# ruff: noqa: INP001, T201  # a script, not a module

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Query = tuple[str, str]
"""Expression and legend."""
Panel = tuple[str, str, Sequence[Query]]
"""Title, unit of Grafana, and what is drawn."""

W, H = 12, 8
"""A panel's size, on a page 24 wide."""
RATE = "$__rate_interval"


def quantiles(name: str, *, by: str = "", where: str = "") -> list[Query]:
    """The middle, and the slowest of twenty and of a hundred."""
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (f"histogram_quantile({q}, sum by ({labels}) (rate({name}_bucket{where}[{RATE}])))", f"p{round(q * 100)}{legend}")
        for q in (0.5, 0.95, 0.99)
    ]


def p95(name: str, legend: str, *, where: str = "") -> Query:
    """The slowest of twenty."""
    return (f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket{where}[{RATE}])))", legend)


def rate(name: str, by: str = "", legend: str = "") -> Query:
    """Per second."""
    grouped = f"sum by ({by}) " if by else "sum "
    return (f"{grouped}(rate({name}[{RATE}]))", f"{{{{{by}}}}}" if by else legend)


DASHBOARDS: Mapping[str, tuple[str, Sequence[Panel]]] = {
    "conversation-quality": (
        "voicefsm: conversation quality",
        [
            ("Exchanges, by how they ended", "ops", [rate("voicefsm_turns_total", "outcome")]),
            ("Replies begun before the final", "ops", [rate("voicefsm_speculations_total", "speculation")]),
            ("User's last word to the answer's first sample", "s", quantiles("voicefsm_first_audio_seconds")),
            ("Silence until the turn counts as over", "s", quantiles("voicefsm_end_of_utterance_delay_seconds")),
            ("Gaps in answers", "ops", [rate("voicefsm_playout_underruns_total", legend="underruns")]),
            ("Echo return loss enhancement", "dB", quantiles("voicefsm_erle_db")[:1]),
            ("Echo after its reference", "s", quantiles("voicefsm_echo_delay_seconds")[:2]),
            ("Moves of the turn machine", "ops", [rate("voicefsm_transitions_total", "after")]),
            ("Time in each state, median", "s", quantiles("voicefsm_state_seconds", by="state")[:1]),
        ],
    ),
    "latency-breakdown": (
        "voicefsm: latency breakdown",
        [
            (
                "Where the time of an answer goes, p95",
                "s",
                [
                    p95("voicefsm_end_of_utterance_delay_seconds", "end of utterance"),
                    p95("voice_gateway_llm_ttft_seconds", "first token"),
                    p95("voice_gateway_tts_latency_seconds", "first audio of the voice"),
                    p95("voicefsm_first_audio_seconds", "all, to the ear"),
                ],
            ),
            ("Final transcript to first audio", "s", quantiles("voice_gateway_e2e_latency_seconds")),
            ("Recogniser: utterance to final", "s", quantiles("voice_gateway_asr_latency_seconds", by="language")[:2]),
            ("Recogniser: last sample to final", "s", quantiles("voicefsm_asr_lag_seconds")),
            ("Recogniser: onset to first words", "s", quantiles("voicefsm_asr_first_partial_seconds")),
            ("Model: first token", "s", quantiles("voice_gateway_llm_ttft_seconds", by="model")[:2]),
            ("Model: whole answer", "s", quantiles("voice_gateway_llm_total_seconds")[:2]),
            ("Voice: first audio", "s", quantiles("voice_gateway_tts_latency_seconds", by="language")[:2]),
        ],
    ),
    "barge-in": (
        "voicefsm: barge-in",
        [
            ("Onset to the last sample heard", "s", quantiles("voicefsm_barge_in_seconds", where='{part="total"}')),
            (
                "Its parts, p95",
                "s",
                [
                    p95("voicefsm_barge_in_seconds", part, where=f'{{part="{part}"}}')
                    for part in ("pause", "decision", "cancel", "stale")
                ],
            ),
            (
                "Confirmed, false, rejected",
                "ops",
                [
                    rate("voicefsm_barge_ins_total", legend="confirmed"),
                    rate("voicefsm_false_barge_ins_total", legend="false"),
                    rate("voicefsm_resumes_total", legend="rejected"),
                ],
            ),
            ("How long answers stood still before they went on", "s", quantiles("voicefsm_resume_pause_seconds")[:2]),
        ],
    ),
    "capacity": (
        "voicefsm: capacity",
        [
            (
                "Conversations and room",
                "short",
                [
                    ("sum by (state) (voicefsm_sessions)", "{{state}}"),
                    ("sum(voicefsm_sessions_max)", "room"),
                    ("sum(voice_gateway_active_streams)", "held"),
                ],
            ),
            ("Calls, by how they ended", "ops", [rate("voice_gateway_requests_total", "status")]),
            ("Calls turned away", "ops", [rate("voicefsm_refused_total", "kind")]),
            ("Conversations begun, by identity", "ops", [rate("voicefsm_identity_sessions_total", "identity")]),
            (
                "Conversations held, by identity",
                "short",
                [("sum by (identity) (voicefsm_identity_active_sessions)", "{{identity}}")],
            ),
            (
                "Conversations kept, and resumed",
                "ops",
                [rate("voicefsm_session_saves_total", "saved"), rate("voicefsm_sessions_resumed_total", legend="resumed")],
            ),
            ("How long keeping one takes", "s", quantiles("voicefsm_session_save_seconds")),
            ("Files that changed", "ops", [rate("voicefsm_reloads_total", "what")]),
            ("How late the event loop is", "s", quantiles("voicefsm_event_loop_lag_seconds")),
            (
                "How busy the busiest event loop is",
                "percentunit",
                [("max by (instance) (voicefsm_event_loop_busy_ratio)", "{{instance}}")],
            ),
            ("Fullest queue", "short", [("max by (queue) (voicefsm_queue_depth_max)", "{{queue}}")]),
            ("Cores in use", "short", [rate("voicefsm_cpu_seconds_total", legend="cores")]),
            ("Memory", "bytes", [("sum(voicefsm_resident_bytes)", "resident")]),
            ("Ready, by instance", "short", [("sum by (instance) (voicefsm_ready)", "{{instance}}")]),
            (
                "Defects",
                "short",
                [
                    ("sum(increase(voicefsm_crashes_total[1h]))", "crashes"),
                    ("sum by (rule) (increase(voicefsm_invariant_violations_total[1h]))", "{{rule}}"),
                ],
            ),
            ("Versions", "short", [("sum by (version, llm_model) (voice_gateway_info)", "{{version}} {{llm_model}}")]),
        ],
    ),
    "backends": (
        "voicefsm: backends",
        [
            (
                "Breakers",
                "short",
                [("sum by (backend, server, state) (voicefsm_breaker_state)", "{{backend}} {{server}} {{state}}")],
            ),
            ("Recogniser: failures", "ops", [rate("voice_gateway_asr_errors_total", "error_type")]),
            ("Model: failures", "ops", [rate("voice_gateway_llm_errors_total", "error_type")]),
            ("Voice: failures", "ops", [rate("voice_gateway_tts_errors_total", "error_type")]),
            (
                "Recogniser: streams opened again, and seconds lost",
                "ops",
                [
                    rate("voicefsm_asr_reopenings_total", legend="reopened"),
                    rate("voicefsm_asr_lost_seconds_total", legend="seconds lost"),
                ],
            ),
            ("Facts that came too late", "ops", [rate("voicefsm_stale_facts_total", legend="stale")]),
            ("Model: pieces of an answer", "short", quantiles("voice_gateway_llm_tokens_total")[:2]),
            ("Voice: characters of an answer", "short", quantiles("voice_gateway_tts_characters_total")[:2]),
        ],
    ),
    "gpu": (
        "voicefsm: GPU (DCGM)",
        [
            ("Utilisation", "percent", [("avg by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}}")]),
            (
                "Memory in use",
                "percentunit",
                [("DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)", "{{Hostname}} {{gpu}}")],
            ),
            ("Tensor cores active", "percentunit", [("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "{{Hostname}} {{gpu}}")]),
            ("Power", "watt", [("DCGM_FI_DEV_POWER_USAGE", "{{Hostname}} {{gpu}}")]),
            ("Temperature", "celsius", [("DCGM_FI_DEV_GPU_TEMP", "{{Hostname}} {{gpu}}")]),
            ("Clock", "rotmhz", [("DCGM_FI_DEV_SM_CLOCK", "{{Hostname}} {{gpu}}")]),
        ],
    ),
}


def dashboard(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """One, as Grafana imports it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "uid": f"voicefsm-{uid}",
        "title": title,
        "tags": ["voicefsm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": [
            {
                "id": number + 1,
                "type": "timeseries",
                "title": name,
                "datasource": source,
                "gridPos": {"x": W * (number % 2), "y": H * (number // 2), "w": W, "h": H},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + k), "datasource": source, "expr": expression, "legendFormat": legend}
                    for k, (expression, legend) in enumerate(queries)
                ],
            }
            for number, (name, unit, queries) in enumerate(panels)
        ],
    }


def main() -> None:
    """Print them all."""
    print(json.dumps({f"{uid}.json": dashboard(uid, title, panels) for uid, (title, panels) in DASHBOARDS.items()}))


if __name__ == "__main__":
    main()
