"""`voicefsm conformance`: does a server do on the wire what the gateway relies on?"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicefsm.cli.common import ConfigFile, Overrides, chosen

if TYPE_CHECKING:
    from voicefsm.config import Settings
    from voicefsm.conformance import Result, Wish

Target = Annotated[str | None, typer.Option("--riva", help="A Riva server.", metavar="HOST:PORT", show_default=False)]
BaseUrl = Annotated[str | None, typer.Option("--llm", help="A model server, with /v1.", metavar="URL", show_default=False)]


def conformance(  # noqa: PLR0917  # options, given by name
    riva: Target = None,
    llm: BaseUrl = None,
    only: Annotated[
        str | None,
        typer.Option(help="Items, with commas between; a letter stands for its group.", metavar="IDS", show_default=False),
    ] = None,
    riva_http: Annotated[
        str, typer.Option(help="HTTP port of a Speech NIM, for its health.", metavar="URL", show_default=False)
    ] = "",
    idle_s: Annotated[float, typer.Option(help="How long H5 leaves a connection alone.", min=0, max=600)] = 35.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to send here.", show_default=False)] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Test a Riva server, a model server, or both, item by item. Language, voice, TLS and keys are the gateway's settings.

    Exit code 1: an item fails that applies.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before gRPC is loaded: failing calls are the business here
    from voicefsm import conformance as tool  # noqa: PLC0415  # a quick --help
    from voicefsm.config import load  # noqa: PLC0415  # a quick --help

    if riva is None and llm is None:
        raise typer.BadParameter("say what to test: --riva HOST:PORT, --llm URL, or both.")
    try:
        checks = tool.chosen([name.strip() for name in (only or "").split(",") if name.strip()])
    except ValueError as unknown:
        raise typer.BadParameter(str(unknown), param_hint="--only") from None
    wish = _wish(load(file=config, overrides=chosen({"riva.target": riva, "llm.base_url": llm}, overrides)), riva, llm)
    wish = dataclasses.replace(wish, riva_http=riva_http, idle_s=idle_s)
    results = asyncio.run(tool.run(wish, checks, _tell))
    if json_file is not None:
        tool.write_json(json_file, wish, results)
    print(tool.totals(results))
    if any(result.outcome is tool.Outcome.FAIL for result in results):
        raise typer.Exit(1)


def _wish(settings: Settings, riva: str | None, llm: str | None) -> Wish:
    from voicefsm.conformance import Wish  # noqa: PLC0415  # a quick --help

    return Wish(
        riva=settings.riva if riva else None,
        llm=dataclasses.replace(settings.llm, warm_up=False) if llm else None,
        asr=settings.asr,
        tts=settings.tts,
        language_code=settings.session.language_code,
        voice_name=settings.session.voice_name,
    )


def _tell(result: Result) -> None:
    from voicefsm.conformance import line  # noqa: PLC0415  # a quick --help

    print(line(result), flush=True)
