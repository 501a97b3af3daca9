"""Runs items against servers of this process or of another, and tells how they came out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings
from voicefsm.conformance import Check, Outcome, Result, Wish, run

Outcomes = Callable[..., Awaitable[dict[Outcome, set[str]]]]


@pytest.fixture
def outcomes() -> Outcomes:
    """`await outcomes(checks, riva=TARGET, llm=BASE_URL, **wish)`: the ids of the items by how they came out."""

    async def examine(
        checks: Sequence[Check],
        *,
        riva: str | None = None,
        llm: str | None = None,
        riva_settings: RivaChannelSettings | None = None,
        **wish: object,
    ) -> dict[Outcome, set[str]]:
        told: list[Result] = []
        servers = {
            "riva": RivaChannelSettings(target=riva) if riva else riva_settings,
            "llm": LlmSettings(base_url=llm, warm_up=False) if llm else None,
        }
        results = await run(Wish(**servers | wish), checks, told.append)  # type: ignore[arg-type]
        assert told == results
        for result in results:
            print(result.id, result.outcome, result.detail)  # what pytest shows of a failed test
        return {outcome: {result.id for result in results if result.outcome is outcome} for outcome in Outcome}

    return examine
