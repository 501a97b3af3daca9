"""Running items: every way one can end is an outcome, and none stops the next."""

from __future__ import annotations

import asyncio
import json

import grpc
import grpc.aio
import pytest

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings
from voicefsm.conformance import (
    CHECKS,
    Check,
    Failed,
    Need,
    NotSupported,
    Outcome,
    Result,
    Targets,
    Wish,
    chosen,
    line,
    run,
    totals,
)
from voicefsm.conformance.report import write_json
from voicefsm.errors import BackendError
from voicefsm.values import Backend

RIVA = Wish(riva=RivaChannelSettings(target="127.0.0.1:1"))


def check(id_: str, ends_with: BaseException | str, **fields: object) -> Check:
    async def work(_: Targets) -> str:
        if isinstance(ends_with, BaseException):
            raise ends_with
        return ends_with

    return Check(id_, f"title of {id_}", work, **fields)  # type: ignore[arg-type]


async def hang(_: Targets) -> str:
    await asyncio.Event().wait()
    return ""


async def test_every_end_is_an_outcome():
    """Otherwise one odd server costs the report of all the other items."""
    status = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Triton")
    checks = [
        check("T1", "seen\nthis"),
        check("T2", Failed("does otherwise")),
        check("T3", NotSupported("is old")),
        check("T4", status),
        check("T5", BackendError(Backend.TTS, "is away.")),
        check("T6", ZeroDivisionError("oh")),
        Check("T7", "title", hang, deadline_ms=20),
        check("T8", asyncio.CancelledError()),  # what grpc.aio raises when it breaks a call off itself
        check("T9", ""),
    ]
    async with asyncio.timeout(5):
        results = await run(RIVA, checks, lambda _: None)
    assert [(r.id, r.outcome, r.detail) for r in results] == [
        ("T1", Outcome.PASS, "seen this"),
        ("T2", Outcome.FAIL, "does otherwise"),
        ("T3", Outcome.NOT_SUPPORTED, "is old"),
        ("T4", Outcome.FAIL, "the call ended with UNKNOWN: Triton"),
        ("T5", Outcome.FAIL, "is away."),
        ("T6", Outcome.FAIL, "unexpected ZeroDivisionError: oh"),
        ("T7", Outcome.FAIL, "not over within 20 ms"),
        ("T8", Outcome.FAIL, "the call was broken off by gRPC, without a status"),
        ("T9", Outcome.PASS, ""),
    ]


async def test_who_interrupts_the_tool_is_obeyed():
    """Otherwise Ctrl-C costs one item, and the next begins."""
    running = asyncio.create_task(run(RIVA, [Check("T1", "title", hang)], lambda _: None))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_server_that_is_away_is_asked_no_more():
    """Otherwise a wrong address fails item by item, each after its deadline; or costs the items of the server that is there."""
    nowhere = Wish(riva=RivaChannelSettings(target="127.0.0.1:1", open_ms_max=200), llm=LlmSettings(warm_up=False))
    checks = [*chosen(["H1", "H3", "A1"]), check("L1", "seen", needs=Need.LLM)]
    results = await run(nowhere, checks, lambda _: None)
    assert [(r.id, r.outcome) for r in results] == [("H1", Outcome.FAIL), ("L1", Outcome.PASS)]
    assert results[0].detail.startswith("nobody answers at 127.0.0.1:1 within 200 ms")


async def test_items_of_a_server_that_was_not_given_are_left_out():
    """Otherwise a report on Riva alone is full of failures of a model server nobody has."""
    checks = [check("T1", ""), check("L1", "", needs=Need.LLM), check("H2", "", needs=Need.LLM | Need.RIVA)]
    assert [result.id for result in await run(RIVA, checks, lambda _: None)] == ["T1", "H2"]
    assert await run(Wish(), checks, lambda _: None) == []


def test_ids_are_unique_and_in_the_order_of_their_numbers():
    """Otherwise two items share a line of the report, or one is never found."""
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids, key=lambda id_: ("HATL".index(id_[0]), int(id_[1:])))


def test_items_are_chosen_by_id_and_by_group():
    """Otherwise `--only` runs something else than what was asked for."""
    assert chosen([]) == CHECKS
    assert [check.id for check in chosen(["H3", "T1"])] == ["H3", "T1"]
    assert {check.id[0] for check in chosen(["T"])} == {"T"}
    with pytest.raises(ValueError, match="no item T99, X; there are H1, "):
        chosen(["T1", "T99", "X"])


RESULTS = [
    Result("T1", "one", Outcome.PASS, "", 1),
    Result("T2", "two", Outcome.FAIL, "why", 2),
    Result("T3", "three", Outcome.NOT_SUPPORTED, "old", 3),
]


def test_lines_and_totals():
    """Otherwise a reader has to count."""
    assert [line(result) for result in RESULTS] == [
        "T1   pass           one",
        "T2   fail           two: why",
        "T3   not supported  three: old",
    ]
    assert totals(RESULTS) == "conformance: 1 passed, 1 failed (T2), 1 not supported"
    assert totals([]) == "conformance: 0 passed, 0 failed, 0 not supported"


def test_report_names_the_servers_and_tells_no_secret(tmp_path):
    """Otherwise a report that is sent to us has a key in it, or does not say what it is about."""
    file = tmp_path / "report.json"
    write_json(file, Wish(riva=RIVA.riva, llm=LlmSettings(api_key="sesame")), RESULTS)
    text = file.read_text(encoding="utf-8")
    report = json.loads(text)
    assert "sesame" not in text
    assert (report["riva"], report["llm"]) == ("127.0.0.1:1", "http://127.0.0.1:8000/v1")
    assert report["items"][1] == {"id": "T2", "title": "two", "outcome": "fail", "detail": "why", "took_ms": 2}
    assert report["totals"] == {"pass": 1, "fail": 1, "not supported": 1}
