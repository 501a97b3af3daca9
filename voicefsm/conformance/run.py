"""Runs items one by one: each has its deadline, and none stops the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import grpc.aio
import httpx

from voicefsm.adapters.channels import is_cancelled_from_outside
from voicefsm.conformance import asr, infra, llm, tts
from voicefsm.conformance.item import Away, Check, Failed, Need, NotSupported, Outcome, Result
from voicefsm.conformance.targets import Targets, Wish, reach
from voicefsm.errors import BackendError

CHECKS: tuple[Check, ...] = (*infra.CHECKS, *asr.CHECKS, *tts.CHECKS, *llm.CHECKS)
"""The whole list."""


def chosen(ids: Sequence[str]) -> tuple[Check, ...]:
    """The items with these ids, all of them if there are none; a letter alone stands for its group.

    Raises `ValueError` that names what nobody knows.
    """
    known = {check.id for check in CHECKS} | {check.id[0] for check in CHECKS}
    if unknown := [name for name in ids if name not in known]:
        raise ValueError(f"There is no item {', '.join(unknown)}; there are {', '.join(check.id for check in CHECKS)}.")
    return tuple(check for check in CHECKS if not ids or check.id in ids or check.id[0] in ids)


async def run(wish: Wish, checks: Sequence[Check], tell: Callable[[Result], None]) -> list[Result]:
    """Run what the given servers allow, in order; `tell` hears each result as it comes. Who is found away is asked no more."""
    results = []
    async with reach(wish) as targets:
        given = _given(targets)
        for check in checks:
            if check.needs & given:
                results.append(await examine(check, targets))
                tell(results[-1])
                if results[-1].is_away:
                    given &= ~check.needs
    return results


def _given(targets: Targets) -> Need:
    given = Need(0)
    if targets.given_riva:
        given |= Need.RIVA
    if targets.given_llm:
        given |= Need.LLM
    return given


async def examine(check: Check, targets: Targets) -> Result:
    """Run one item. Whatever it raises is its outcome."""
    began = time.monotonic()
    outcome, detail, is_away = Outcome.FAIL, "", False
    try:
        async with asyncio.timeout(check.deadline_ms / 1000):
            outcome, detail = Outcome.PASS, await check.run(targets)
    except NotSupported as reason:
        outcome, detail = Outcome.NOT_SUPPORTED, str(reason)
    except Failed as failure:
        outcome, detail, is_away = Outcome.FAIL, str(failure), isinstance(failure, Away)
    except asyncio.CancelledError:
        if is_cancelled_from_outside():
            raise
        outcome, detail = Outcome.FAIL, "the call was broken off by gRPC, without a status"
    except Exception as error:  # noqa: BLE001, a defect of one item costs that item
        outcome, detail = Outcome.FAIL, _told(error, check)
    took_ms = round((time.monotonic() - began) * 1000)
    return Result(check.id, check.title, outcome, " ".join(detail.split()), took_ms, is_away)


def _told(error: Exception, check: Check) -> str:
    match error:
        case BackendError():
            return error.message
        case grpc.aio.AioRpcError():
            return f"the call ended with {error.code().name}: {error.details()}"
        case TimeoutError():
            return f"not over within {check.deadline_ms} ms"
        case httpx.HTTPError():
            return f"the request failed: {error or type(error).__name__}"
    return f"unexpected {type(error).__name__}: {error}"
