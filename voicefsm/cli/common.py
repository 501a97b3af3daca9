"""What the commands share: their common options, and saying what is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from voicefsm.errors import SettingsError

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file (TOML). Also: VOICEFSM_CONFIG.", metavar="FILE", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting; `voicefsm settings` lists them.", metavar="SECTION.NAME=VALUE", show_default=False),
]


def chosen(options: Mapping[str, object], overrides: list[str] | None) -> list[str]:
    """The options that were given, by the setting each stands for, and the `--set` overrides after them."""
    return [f"{path}={value}" for path, value in options.items() if value is not None] + (overrides or [])


def secret(said: str) -> str:
    """A secret of the command line: itself, or what stands in the file that `@FILE` names. Raises `SettingsError`."""
    if not said.startswith("@"):
        return said
    try:
        return Path(said[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as unreadable:
        raise SettingsError(f"{said[1:]} cannot be read: {unreadable}.", remedy="Check the file after the @.") from unreadable


@contextmanager
def needs(command: str, extra: str) -> Iterator[None]:
    """Around the imports of a command: a package that is not installed is an error that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] == "voicefsm":
            raise
        raise SettingsError(
            f"`voicefsm {command}` needs the package {missing.name.split('.')[0]}, which is not installed.",
            remedy=f"Install it in a checkout with: pip install '.[{extra}]' (or `make setup`)",
        ) from missing
