"""What is told of a run: one line for each item, all of it as JSON, totals at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from voicefsm.conformance.item import Outcome, Result
from voicefsm.conformance.targets import Wish


def line(result: Result) -> str:
    """One item."""
    detail = f": {result.detail}" if result.detail else ""
    return f"{result.id:4} {result.outcome:13}  {result.title}{detail}"


def totals(results: Sequence[Result]) -> str:
    """The last line."""
    failed = [result.id for result in results if result.outcome is Outcome.FAIL]
    passed, unsupported = (sum(r.outcome is outcome for r in results) for outcome in (Outcome.PASS, Outcome.NOT_SUPPORTED))
    names = f" ({', '.join(failed)})" if failed else ""
    return f"conformance: {passed} passed, {len(failed)} failed{names}, {unsupported} not supported"


def write_json(file: Path, wish: Wish, results: Sequence[Result]) -> None:
    """The report to send. It names the servers and holds no secret."""
    file.write_text(json.dumps(_body(wish, results), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _body(wish: Wish, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "voicefsm": version("voicefsm"),
        "riva": wish.riva.target if wish.riva else None,
        "llm": wish.llm.base_url if wish.llm else None,
        "language_code": wish.language_code,
        "voice_name": wish.voice_name,
        "items": [
            {"id": r.id, "title": r.title, "outcome": str(r.outcome), "detail": r.detail, "took_ms": r.took_ms} for r in results
        ],
        "totals": {str(outcome): sum(r.outcome is outcome for r in results) for outcome in Outcome},
    }
