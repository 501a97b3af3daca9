"""`voicefsm talk`: a conversation with the machine's own microphone and loudspeaker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from voicefsm.cli.common import ConfigFile, needs, secret
from voicefsm.server.port import address


def talk(  # noqa: PLR0917  # options, given by name
    target: Annotated[
        str, typer.Option(help="The gateway, HOST:PORT; empty: where `serve` would listen with these settings.", show_default=False)
    ] = "",
    language: Annotated[str, typer.Option(help="BCP-47 tag of the language spoken; empty: the server's default.")] = "",
    voice: Annotated[str, typer.Option(help="The assistant's voice; empty: the server's default.")] = "",
    headset: Annotated[bool, typer.Option("--headset", help="The microphone cannot hear the loudspeaker.")] = False,
    input_device: Annotated[str, typer.Option(help="The microphone, by number or part of its name.")] = "",
    output_device: Annotated[str, typer.Option(help="The loudspeaker, by number or part of its name.")] = "",
    wav_in: Annotated[Path | None, typer.Option(help="A recording instead of the microphone.", show_default=False)] = None,
    wav_out: Annotated[Path | None, typer.Option(help="Where to write what was heard.", show_default=False)] = None,
    wav_tail_ms: Annotated[
        int, typer.Option(help="How long to listen after the end of the recording before hanging up.", min=0, max=600_000)
    ] = 8000,
    key: Annotated[str, typer.Option(help="API key to show; @FILE reads it from a file.", metavar="KEY")] = "",
    token: Annotated[str, typer.Option(help="Token (JWT) to show; @FILE reads it from a file.", metavar="TOKEN")] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt, and check the gateway against the well-known authorities.")] = False,
    ca: Annotated[str, typer.Option(help="Encrypt, and check the gateway against these authorities (PEM).", metavar="FILE")] = "",
    cert: Annotated[str, typer.Option(help="Our own certificate (PEM), where the gateway asks for one.", metavar="FILE")] = "",
    cert_key: Annotated[str, typer.Option(help="Its private key (PEM), where --cert does not hold it.", metavar="FILE")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Show key or token over a connection that is not encrypted.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Talk to a running gateway through this machine's microphone and loudspeaker."""
    from voicefsm.config import load  # noqa: PLC0415  # a quick --help

    with needs("talk", "talk"):
        from voicefsm.client import Access  # noqa: PLC0415
        from voicefsm.talk import TalkSettings, run  # noqa: PLC0415  # a quick --help, and an extra

    server = load(file=config).server
    settings = TalkSettings(
        target=target or address(server.host, server.port),
        language_code=language,
        voice_name=voice,
        headset=headset,
        input_device=input_device,
        output_device=output_device,
        access=Access(secret(key), secret(token), tls, ca, cert, cert_key, insecure),
        wav_in=wav_in,
        wav_out=wav_out,
        wav_tail_ms=wav_tail_ms,
    )
    print(asyncio.run(run(settings)))
