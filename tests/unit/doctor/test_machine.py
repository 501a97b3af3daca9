"""The doctor looks at this machine."""

from __future__ import annotations

import socket
import sys
import types

import pytest

from voicefsm.doctor import machine
from voicefsm.doctor.finding import Verdict


def test_an_unknown_python_is_a_note(monkeypatch):
    """Otherwise a failure on an untried Python would look like a defect of the program."""
    assert machine.examine_python().verdict is Verdict.OK
    monkeypatch.setattr(machine, "PYTHONS", ((3, 99),))
    assert machine.examine_python().verdict is Verdict.NOTE


def test_a_missing_package_is_broken_and_a_missing_extra_is_a_note(monkeypatch):
    """Otherwise `serve` would fail after the doctor found nothing, or the doctor would refuse a machine without a microphone."""
    assert machine.examine_packages()[0].verdict is Verdict.OK
    monkeypatch.setattr(machine, "CORE", ("grpcio", "no-such-package"))
    monkeypatch.setattr(machine, "EXTRAS", {"talk": (("no_such_module",), "the microphone")})
    core, extra = machine.examine_packages()
    assert (core.verdict, "no-such-package" in core.detail) == (Verdict.BROKEN, True)
    assert (extra.verdict, extra.remedy) == (Verdict.NOTE, "In a checkout: pip install '.[talk]' (or `make setup`).")


def test_a_taken_port_is_told():
    """Otherwise the next line after "ready" would be a refusal to start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        finding = machine.examine_port("127.0.0.1", taken.getsockname()[1])
    assert (finding.verdict, "--port" in finding.remedy) == (Verdict.BROKEN, True)
    assert machine.examine_port("127.0.0.1", 0).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("devices", "verdict"),
    [
        ([{"max_input_channels": 1, "max_output_channels": 0}, {"max_input_channels": 0, "max_output_channels": 2}], Verdict.OK),
        ([{"max_input_channels": 0, "max_output_channels": 2}], Verdict.NOTE),
        ([], Verdict.NOTE),
    ],
)
def test_talk_needs_a_microphone_and_a_loudspeaker(monkeypatch, devices, verdict):
    """Otherwise `talk` would start and hear nothing."""
    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(query_devices=lambda: devices))
    assert machine.examine_audio().verdict is verdict


def test_talk_is_optional(monkeypatch):
    """Otherwise a server would need a sound library."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    finding = machine.examine_audio()
    assert (finding.verdict, finding.remedy) == (Verdict.NOTE, "In a checkout: pip install '.[talk]' (or `make setup`).")
