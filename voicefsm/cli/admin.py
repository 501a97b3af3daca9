"""`voicefsm admin`: look at the sessions of a running gateway, end one, change what it logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from voicefsm.cli.common import secret

if TYPE_CHECKING:
    from voicefsm.client.admin import Admin, LiveSession

admin = typer.Typer(
    help="Look at the sessions of a running gateway (server.admin), end one, change what it logs.", no_args_is_help=True
)

Target = Annotated[str, typer.Option(help="The gateway, HOST:PORT.")]
Key = Annotated[str, typer.Option(help="API key of an identity that may administer; @FILE reads it from a file.", metavar="KEY")]
Token = Annotated[str, typer.Option(help="Token (JWT) instead; @FILE.", metavar="TOKEN")]
Ca = Annotated[str, typer.Option(help="Encrypt, and check the gateway against these authorities (PEM).", metavar="FILE")]
Cert = Annotated[str, typer.Option(help="Our own certificate and its key (PEM).", metavar="FILE")]
HERE = "127.0.0.1:50055"


def _run(target: str, key: str, token: str, ca: str, cert: str, do: Callable[[Admin], Awaitable[str]]) -> None:  # noqa: PLR0917
    from voicefsm.client import Access  # noqa: PLC0415  # a quick --help
    from voicefsm.client.admin import Admin  # noqa: PLC0415

    async def run() -> str:
        async with Admin.connect(target, Access(secret(key), secret(token), ca_file=ca, certificate_file=cert)) as connected:
            return await do(connected)

    print(asyncio.run(run()))


def _line(session: LiveSession) -> str:
    who = f"{session.session_id}  {session.state:12} {session.age_ms / 1000:8.0f} s  {session.language_code:6} {session.identity}"
    queues = f"inbox {session.inbox_facts}, outbox {session.outbox_messages}, ears {session.ears_backlog_ms} ms"
    return f"{who}  {queues}, underruns {session.underruns}"


@admin.command("list")
def list_sessions(target: Target = HERE, key: Key = "", token: Token = "", ca: Ca = "", cert: Cert = "") -> None:
    """List the sessions that live, the oldest first."""

    async def do(connected: Admin) -> str:
        sessions = await connected.sessions()
        return "\n".join([*map(_line, sessions), f"admin: {len(sessions)} sessions"])

    _run(target, key, token, ca, cert, do)


@admin.command()
def watch(target: Target = HERE, key: Key = "", token: Token = "", ca: Ca = "", cert: Cert = "") -> None:
    """List them, and then whatever changes, until Ctrl-C."""

    async def do(connected: Admin) -> str:
        async for session in connected.watch():
            print(_line(session), flush=True)
        return "admin: the gateway ended the watch"

    _run(target, key, token, ca, cert, do)


@admin.command()
def end(  # noqa: PLR0917
    session: Annotated[str, typer.Argument(help="Its id.")],
    target: Target = HERE,
    key: Key = "",
    token: Token = "",
    ca: Ca = "",
    cert: Cert = "",
) -> None:
    """End a session, as if its client had hung up."""

    async def do(connected: Admin) -> str:
        await connected.end(session)
        return f"admin: {session} was told to end"

    _run(target, key, token, ca, cert, do)


@admin.command()
def log_level(  # noqa: PLR0917
    level: Annotated[str, typer.Argument(help="debug, info, warning or error.")],
    target: Target = HERE,
    key: Key = "",
    token: Token = "",
    ca: Ca = "",
    cert: Cert = "",
) -> None:
    """Change what is logged from now on, until the settings file says otherwise."""

    async def do(connected: Admin) -> str:
        await connected.set_log_level(level)
        return f"admin: the log is at {level}"

    _run(target, key, token, ca, cert, do)
