"""What a client shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicefsm.client import Access
from voicefsm.errors import SettingsError


@pytest.mark.parametrize("target", ["127.0.0.1:1", "localhost:1", "[::1]:1", "dns:///localhost:1"])
def test_a_key_may_be_shown_to_this_machine(target: str) -> None:
    """Otherwise nobody can try it out."""
    assert Access(key="k").metadata(target) == (("authorization", "Bearer k"),)
    assert Access(token="a.b.c").metadata(target) == (("authorization", "Bearer a.b.c"),)
    assert Access().metadata(target) == ()


@pytest.mark.parametrize("target", ["voice.example:1", "localhost.example:1", "127.0.0.1.example:1", "10.0.0.1:1"])
def test_a_key_is_not_told_to_the_network(target: str) -> None:
    """Otherwise anybody on the way has it."""
    with pytest.raises(SettingsError, match=f"would go to {target}"):
        Access(key="k").metadata(target)
    assert Access(key="k", allow_insecure=True).metadata(target)
    assert Access(key="k", tls=True).metadata(target)


def test_what_does_not_go_together_is_told(tmp_path: Path) -> None:
    """Otherwise one of the two is ignored without a word."""
    with pytest.raises(SettingsError, match="a key and a token"):
        Access(key="k", token="t")
    with pytest.raises(SettingsError, match="a private key, and no certificate"):
        Access(key_file="k.pem")
    with pytest.raises(SettingsError, match=r"missing\.pem cannot be read"):
        Access(ca_file=str(tmp_path / "missing.pem")).credentials()
    assert Access().credentials() is None
    assert Access(tls=True).credentials() is not None


def test_secrets_do_not_show_themselves() -> None:
    """Otherwise they stand in tracebacks."""
    assert "k3y" not in repr(Access(key="k3y")) + repr(Access(token="k3y"))
