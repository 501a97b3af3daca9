"""What is listened on, and why not."""

from __future__ import annotations

import pytest

from tests.servers import needs_ipv6
from voicefsm.errors import SettingsError
from voicefsm.server.port import address, hold


@pytest.mark.parametrize(
    ("host", "written"), [("0.0.0.0", "0.0.0.0:1"), ("node", "node:1"), ("::", "[::]:1"), ("[fd00::1]", "[fd00::1]:1")]
)
def test_an_ipv6_address_has_brackets_in_the_end(host: str, written: str) -> None:
    """Otherwise nobody knows where the address ends and the port begins."""
    assert address(host, 1) == written


@pytest.mark.parametrize("host", ["127.0.0.1", *(pytest.param(host, marks=needs_ipv6) for host in ("::1", "[::1]"))])
def test_a_port_on_which_somebody_listens_is_taken(host: str) -> None:
    """Otherwise what is in use is said to be free."""
    with hold(host, 0) as holder:
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(SettingsError, match=r"already in use\. Is another server running there\? Set server\.health_port\."):
            hold(host, port, "server.health_port")


def test_a_port_is_held_by_all_who_share_it() -> None:
    """Otherwise no worker can be replaced."""
    with hold("127.0.0.1", 0, is_shared=True) as first:
        hold("127.0.0.1", first.getsockname()[1], is_shared=True).close()


def test_an_address_of_another_machine_is_no_taken_port() -> None:
    """Otherwise an operator looks for a server that is not there."""
    with pytest.raises(SettingsError, match=r"Cannot listen on 192\.0\.2\.1:1: .*[^?]\. Set server\.host, or server\.port\.$"):
        hold("192.0.2.1", 1)
