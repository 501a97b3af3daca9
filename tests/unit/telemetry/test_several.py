"""Several observers are told everything, each."""

from __future__ import annotations

import inspect

from voicefsm.ports import Observer
from voicefsm.telemetry.several import Several


class Recorder:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str):
        return lambda *arguments: self.told.append(f"{name} {arguments}")


def test_each_is_told_everything_the_port_has():
    """Otherwise metrics or logs miss whatever was added to the port last."""
    one, two = Recorder(), Recorder()
    both = Several(one, two)
    methods = [name for name, _ in inspect.getmembers(Observer, inspect.isfunction) if not name.startswith("_")]
    for name in methods:
        count = len(inspect.signature(getattr(Observer, name)).parameters) - 1
        getattr(both, name)(*range(count))
    assert one.told == two.told
    assert [line.partition(" ")[0] for line in one.told] == methods
    assert len(methods) >= 7
