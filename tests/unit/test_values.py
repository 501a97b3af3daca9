"""Settings that bound themselves."""

from __future__ import annotations

import dataclasses
import math

import pytest

from voicefsm.values import Bounds, Shape, bounds_of, checked_replace, refusal, setting


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    wait_ms: int = setting(100, unit="ms", ge=10, le=1000, doc="A wait.")
    name: str = setting("x", unit="characters", ge=1, le=3, doc="A name.")
    plain: int = 0


def test_a_setting_is_declared_once():
    """Otherwise a default, its bounds and its sentence could tell different stories."""
    assert Sample() == Sample(wait_ms=100, name="x", plain=0)
    bounds = bounds_of(Sample)
    assert bounds == {
        "wait_ms": Bounds(unit="ms", doc="A wait.", ge=10, le=1000),
        "name": Bounds(unit="characters", doc="A name.", ge=1, le=3),
    }
    secret = setting("", unit="", doc="A key.", secret=True)
    assert secret.metadata["bounds"].secret


@pytest.mark.parametrize(
    ("value", "ge", "le", "expected"),
    [
        (10, 10, 20, ""),
        (20, 10, 20, ""),
        (9, 10, 20, "must be between 10 and 20 ms"),
        (21, 10, 20, "must be between 10 and 20 ms"),
        (9, 10, None, "must be at least 10 ms"),
        (21, None, 20, "must be at most 20 ms"),
        (5, None, 20, ""),
        (25, 10, None, ""),
        (math.nan, 10, 20, "must be between 10 and 20 ms"),
        (math.inf, 10, 20, "must be between 10 and 20 ms"),
        (object(), 10, 20, ""),
        ("anything", None, None, ""),
        ("abc", 4, 9, "must be between 4 and 9 ms long"),
        ((1, 2), 3, None, "must be at least 3 ms"),
    ],
)
def test_refusal(value, ge, le, expected):
    """Otherwise an operator's or client's value out of bounds would be taken, or a good one refused."""
    assert refusal(value, Bounds(unit="ms", doc="", ge=ge, le=le)) == expected


def test_checked_replace_takes_what_is_in_bounds():
    """Otherwise no client could have a setting of its own."""
    assert checked_replace(Sample(), wait_ms=1000, name="abc") == Sample(1000, "abc")


def test_checked_replace_names_everything_that_is_wrong():
    """Otherwise a client would mend one value at a time, by guessing; fields without bounds are not for it at all."""
    with pytest.raises(ValueError, match="there is no setting") as error:
        checked_replace(Sample(), wait_ms=1, name="long", nothing=0, plain=1)
    assert str(error.value) == (
        "name is 'long', and must be between 1 and 3 characters long; there is no setting nothing; there is no setting plain; "
        "wait_ms is 1, and must be between 10 and 1000 ms."
    )


def test_an_address_has_its_shape():
    """Otherwise a forgotten http:// is found out by the first caller."""
    bounds = Bounds(unit="", doc="", shape=Shape.URL)
    assert refusal("http://127.0.0.1:8000/v1", bounds) == ""
    assert refusal("localhost:8000", bounds).startswith("must look like http://HOST")
    assert refusal("localhost", Bounds(unit="", doc="", shape=Shape.HOST_PORT)) == "must look like HOST:PORT"
