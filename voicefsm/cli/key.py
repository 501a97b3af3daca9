"""`voicefsm key NAME`: a new API key, and the line that lets it in."""

from __future__ import annotations

from typing import Annotated

import typer

from voicefsm.errors import SettingsError


def key(name: Annotated[str, typer.Argument(help="Whose key it is: an identity of auth.identities_file.")]) -> None:
    """Make an API key: what its owner is told, and what the gateway may know."""
    from voicefsm.adapters.identities import NAME, hash_of, new_key  # noqa: PLC0415  # a quick --help

    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name.", remedy="Use 1 to 100 letters, digits and ._@:/+-, a letter or digit first.")
    made = new_key()
    print(f"For its owner, shown this once:\n\n    {made}\n")
    print(f'For auth.identities_file:\n\n    ["{name}"]\n    key_sha256 = ["{hash_of(made)}"]\n')
    print(f"key: made one for {name}; it is stored nowhere")
