"""A port to listen on: how it is written, and why it cannot be had. gRPC keeps the reason to itself."""

from __future__ import annotations

import errno
import socket

from voicefsm.errors import SettingsError


def address(host: str, port: int) -> str:
    """HOST:PORT. An IPv6 address is in brackets there, whether it was given in some or not."""
    return f"[{_bare(host)}]:{port}" if ":" in host else f"{host}:{port}"


def hold(host: str, port: int, setting: str = "server.port", *, is_shared: bool = False) -> socket.socket:
    """The port, held and not listened on. With `is_shared` others may have it too that say so. Raises `SettingsError`."""
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if is_shared else socket.SO_REUSEADDR, 1)
        holder.bind((_bare(host), port))
    except OSError as refused:
        holder.close()
        is_taken = refused.errno == errno.EADDRINUSE
        raise SettingsError(
            f"Cannot listen on {address(host, port)}: {refused.strerror}.",
            remedy=f"Is another server running there? Set {setting}." if is_taken else f"Set server.host, or {setting}.",
        ) from refused
    return holder


def _bare(host: str) -> str:
    return host.removeprefix("[").removesuffix("]")
