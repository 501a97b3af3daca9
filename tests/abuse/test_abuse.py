"""A share of what `tox -e abuse` does: nothing is timed, what is left afterwards is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.abuse.attacks import ATTACKS, main
from tests.abuse.run import run


async def test_every_attack_leaves_a_gateway_that_is_well(tmp_path: Path) -> None:
    """Otherwise one bad client takes the others' session, their places, or the process."""
    rows = await run(tmp_path, 1.0, quiet_s=0.1)
    assert {row.attack: row.outcome for row in rows} == dict.fromkeys(ATTACKS, "held")
    assert all(row.times for row in rows), "an attack that does nothing shows nothing"


def test_only_this_machine_is_attacked() -> None:
    """Otherwise a typing error floods somebody."""
    with pytest.raises(SystemExit, match="only this machine"):
        main("reset storm", "example.com:443", "1")
