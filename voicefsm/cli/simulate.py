"""`voicefsm simulate`: hours of conversations with faults, on a virtual clock, from one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    seed: Annotated[int, typer.Option(help="Decides everything. The same seed gives the same journals, byte for byte.")] = 1,
    hours: Annotated[float, typer.Option(help="Virtual hours.", min=0.0, max=10000.0)] = 1.0,
    out: Annotated[Path, typer.Option(help="Directory for the journals, and for what breaks a rule.")] = Path("simulate-out"),
    script: Annotated[
        Path | None, typer.Option(help="Play this one script instead, of a failure for example.", exists=True, show_default=False)
    ] = None,
) -> None:
    """Play simulated sessions with scripted users, faulty backends and a faulty network, and check every rule after every step."""
    from voicefsm.simulation import simulate as simulation  # noqa: PLC0415  # a quick --help

    if script is not None:
        _play(script, out)
        return
    done = simulation.simulate(seed, hours, out, tell=print)
    amount = f"{done.virtual_ms / 3_600_000:.2f} virtual hours, {done.sessions} sessions, {done.steps} steps"
    speed = f"{done.speed:.0f} virtual hours per CPU hour"
    print(f"journals in {out}, sha256 {done.digest}")
    if done.failures:
        print(f"simulate --seed {seed}: FAILED, {len(done.failures)} sessions broke a rule in {amount}, {speed}")
        raise typer.Exit(1)
    print(f"simulate --seed {seed}: ok, {amount}, {speed}")


def _play(script: Path, out: Path) -> None:
    """One script."""
    from voicefsm.simulation import script as scripts  # noqa: PLC0415
    from voicefsm.simulation.simulate import play_into  # noqa: PLC0415

    try:
        read = scripts.read(script.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise typer.BadParameter(f"{script} is no script: {error}", param_hint="--script") from error
    played = play_into(out / f"{script.stem}.jsonl", read, script.stem)
    if played.violation is not None:
        print(f"at {played.violation.at_ms} ms: {played.violation.rule}: {played.violation.what}")
        print(f"simulate --script {script}: FAILED")
        raise typer.Exit(1)
    print(f"simulate --script {script}: ok, {played.virtual_ms} virtual ms, {played.steps} steps, ended by {played.ended}")
