"""The circuit breaker, in a time of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voicefsm.runtime.breaker import Breaker, BreakerSettings, BreakerState

SETTINGS = BreakerSettings(failures_max=3, rest_ms_min=500, rest_ms_max=1500)


def failing(breaker: Breaker, now_ms: int, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(now_ms, is_probe=breaker.ask(now_ms))


def test_some_failures_are_forgiven_and_more_in_a_row_are_not() -> None:
    """Otherwise one lost packet stops every session; or a dead server is asked by each of them for ever."""
    breaker = Breaker(SETTINGS)
    failing(breaker, 0, 2)
    breaker.succeeded()
    failing(breaker, 0, 2)
    assert breaker.state(0) is BreakerState.CLOSED
    failing(breaker, 100)
    assert breaker.state(100) is BreakerState.OPEN
    assert (breaker.wait_ms(100), breaker.wait_ms(599)) == (500, 1)


def test_after_its_rest_one_caller_tries() -> None:
    """Otherwise a server that is just starting is trampled by all who waited."""
    breaker = Breaker(SETTINGS)
    failing(breaker, 0, 3)
    assert breaker.wait_ms(500) == 0
    assert breaker.ask(500)
    assert breaker.state(500) is BreakerState.HALF_OPEN
    assert breaker.wait_ms(500) == SETTINGS.rest_ms_min, "the others wait for the probe"
    breaker.succeeded()
    assert breaker.state(501) is BreakerState.CLOSED
    assert not breaker.ask(501)


def test_a_probe_that_fails_doubles_the_rest_up_to_its_limit() -> None:
    """Otherwise a server that is away for an hour is asked twice a second; or is found an hour too late."""
    breaker, now_ms, rests = Breaker(SETTINGS), 0, []
    failing(breaker, 0, 3)
    for _ in range(5):
        rests.append(breaker.wait_ms(now_ms))
        now_ms += rests[-1]
        failing(breaker, now_ms)
    assert rests == [500, 1000, 1500, 1500, 1500]
    breaker.succeeded()
    failing(breaker, now_ms, 3)
    assert breaker.wait_ms(now_ms) == 500, "success makes up for all of it"


def test_a_probe_whose_user_hangs_up_leaves_the_place_to_the_next() -> None:
    """Otherwise a server is left alone for ever because somebody hung up."""
    breaker = Breaker(SETTINGS)
    failing(breaker, 0, 3)
    assert breaker.ask(500)
    breaker.left(is_probe=False)
    assert breaker.wait_ms(500), "who was not the probe gives nothing back"
    breaker.left(is_probe=True)
    assert breaker.wait_ms(500) == 0
    assert breaker.ask(500)


def test_a_late_failure_of_an_old_call_does_not_prolong_the_rest() -> None:
    """Otherwise a hundred calls that break one after the other keep a server in its rest although it is back."""
    breaker = Breaker(SETTINGS)
    failing(breaker, 0, 3)
    breaker.failed(400)
    assert breaker.wait_ms(400) == 100


def test_a_server_that_asks_for_a_rest_has_it_within_limits() -> None:
    """Otherwise a quota is never respected; or one bad header stops the service for an hour."""
    breaker = Breaker(SETTINGS)
    breaker.failed(0, retry_after_ms=1200)
    assert breaker.wait_ms(0) == 1200
    other = Breaker(SETTINGS)
    other.failed(0, retry_after_ms=3_600_000)
    assert other.wait_ms(0) == SETTINGS.rest_ms_max


def test_a_check_ends_what_a_check_has_seen() -> None:
    """Otherwise a server that is back is not used until a user has tried it; or its failures before count with the next one."""
    breaker = Breaker(SETTINGS)
    breaker.check_failed(0)
    failing(breaker, 0, 2)
    assert breaker.wait_ms(0) == 500
    breaker.check_failed(500)
    assert breaker.wait_ms(500) == 1000, "a check that fails is a failed probe"
    breaker.check_succeeded(600)
    assert breaker.state(600) is BreakerState.CLOSED
    failing(breaker, 700, 2)
    assert breaker.wait_ms(700) == 0


def test_a_check_ends_nothing_that_only_calls_have_seen() -> None:
    """Otherwise a server whose health is well and whose answers are all errors costs a turn its first attempt, for ever."""
    breaker = Breaker(SETTINGS)
    breaker.check_failed(0)
    breaker.check_succeeded(10)
    failing(breaker, 20, 2)
    breaker.check_succeeded(30)
    failing(breaker, 40)
    breaker.check_succeeded(50)
    assert breaker.wait_ms(50) == 490
    breaker.check_succeeded(540)
    assert breaker.ask(540), "the next call is the probe"


def test_a_check_does_not_shorten_a_rest_that_the_server_wants() -> None:
    """Otherwise Retry-After is respected until the next check, which is a second at most."""
    breaker = Breaker(SETTINGS)
    breaker.failed(0, retry_after_ms=1200)
    breaker.check_failed(100)
    breaker.check_succeeded(1199)
    assert breaker.wait_ms(1199) == 1
    breaker.check_succeeded(1200)
    assert breaker.state(1200) is BreakerState.CLOSED


@given(st.lists(st.tuples(st.sampled_from(["ask", "ok", "fail", "leave"]), st.integers(0, 700)), max_size=60))
def test_there_is_one_probe_at_a_time_and_never_no_way_back(happenings: list[tuple[str, int]]) -> None:
    """Otherwise two callers probe at once; or a breaker stays open for ever."""
    breaker, now_ms = Breaker(SETTINGS), 0
    calls: list[bool] = []
    for what, ms in happenings:
        now_ms += ms
        if what == "ask":
            if not breaker.wait_ms(now_ms):
                calls.append(breaker.ask(now_ms))
        elif calls:
            is_probe = calls.pop()
            if what == "ok":
                breaker.succeeded()
                calls = [False for _ in calls]
            elif what == "fail":
                breaker.failed(now_ms, is_probe=is_probe)
            else:
                breaker.left(is_probe=is_probe)
        assert sum(calls) <= 1
        assert breaker.wait_ms(now_ms) <= SETTINGS.rest_ms_max
    for is_probe in calls:
        breaker.left(is_probe=is_probe)
    assert breaker.wait_ms(now_ms + SETTINGS.rest_ms_max) == 0
