"""`voicefsm bench`: what things cost on this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from voicefsm.cli.common import ConfigFile, Overrides, needs
from voicefsm.cli.load import counts_of

if TYPE_CHECKING:
    from voicefsm.bench.step import Garbage, SessionMemory, Spread, StepTimes
    from voicefsm.bench.turns.run import Addresses
    from voicefsm.config import Settings
    from voicefsm.context import TurnSettings
    from voicefsm.events import Fact
    from voicefsm.load.floor import Pair
    from voicefsm.simulation.stage import Stage

bench = typer.Typer(no_args_is_help=True)


@bench.callback()
def what() -> None:
    """Measure what things cost on this machine."""


@bench.command()
def step(
    journal: Annotated[
        Path | None, typer.Argument(help="A session's journal; a built-in conversation when there is none.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often the conversation is fed to a fresh context.", min=1)] = 200,
    sessions: Annotated[int, typer.Option(help="How many sessions memory and garbage are averaged over.", min=1)] = 50,
) -> None:
    """Time the state machine, step by step, against a loop of plain Python; weigh a session; count what it leaves to the collector.

    Exit code 1: a session takes more memory than it may, is known to the state machine library, or leaves something to the
    collector.
    """
    from voicefsm.bench.step import CONTEXT_BYTES_MAX, LIBRARY_BYTES_MAX, litter, time_steps, weigh  # noqa: PLC0415  # a quick --help

    facts, turns = _recorded(journal)
    times = time_steps(facts, turns, rounds=rounds)
    memory = weigh(facts, turns, sessions=sessions)
    garbage = litter(_converse, sessions=max(1, sessions // 10))
    print(_times(times))
    print(_memory(memory))
    print(_garbage(garbage))
    is_light = memory.context <= CONTEXT_BYTES_MAX and memory.library <= LIBRARY_BYTES_MAX and not memory.registered
    is_clean = garbage.objects == 0
    verdict = "TOO HEAVY" if not is_light else "ok" if is_clean else "LITTERS"
    print(
        f"bench step: {verdict}, median {_us(times.all.median_ns)}, p95 {_us(times.all.p95_ns)}, "
        f"context {memory.context} bytes, library {memory.library} bytes, {garbage.objects:.0f} objects of garbage per session"
    )
    if not (is_light and is_clean):
        raise typer.Exit(1)


@bench.command()
def start(rounds: Annotated[int, typer.Option(help="How often each is started.", min=1)] = 10) -> None:
    """Time the import of the gateway, and the gateway until it is ready, in turns with a bare interpreter."""
    from voicefsm.bench.start import IMPORT, SERVE, measure, ratio, told  # noqa: PLC0415  # a quick --help

    took = measure(rounds)
    print(told(took))
    print(f"bench start: ready after {ratio(took, SERVE):.1f} bare interpreters, {ratio(took, IMPORT):.1f} of them imports")


@bench.command()
def history(
    append: Annotated[bool, typer.Option("--append", help="Measure this checkout, and add a line to the file.")] = False,
    load: Annotated[bool, typer.Option("--load", help="With resident memory, which takes a minute.")] = False,
    file: Annotated[Path | None, typer.Option(help="Instead of docs/benchmarks.jsonl.", show_default=False)] = None,
) -> None:
    """Print the page of what was measured of each commit: counts and ratios, which are the same on every machine, and memory."""
    from voicefsm.bench import history as kept  # noqa: PLC0415  # a quick --help
    from voicefsm.cli.history import measured  # noqa: PLC0415

    path = file or kept.PATH
    if append:
        kept.append(path, measured(with_load=load))
    print("\n".join(kept.page(kept.read(path))))


@bench.command()
def overhead(
    rounds: Annotated[int, typer.Option(help="How often gateway and parts are compared.", min=1)] = 30,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Compare the first audio through the gateway with its scripted parts alone, and time how a cancelled reply ends at the server.

    Exit code 1: a goal is not met, or a text of a cancelled reply still reaches the server.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before gRPC is loaded
    from voicefsm.bench.overhead import measure, told  # noqa: PLC0415  # a quick --help
    from voicefsm.config import load  # noqa: PLC0415

    settings = load(file=config, overrides=overrides or [])
    hasty = dataclasses.replace(settings, session=dataclasses.replace(settings.session, texts_per_minute_max=10_000))
    found = asyncio.run(measure(partial(_placed, hasty), rounds))
    print(told(found))
    if not found.is_good:
        raise typer.Exit(1)


@bench.command()
def floor(  # noqa: PLR0917  # options, given by name
    sessions: Annotated[str, typer.Option(help="How many at a time; several numbers, with commas between, in turn.")] = "10,30",
    seconds: Annotated[float, typer.Option(help="How long each level counts, once all have arrived.", min=1)] = 20.0,
    chunk_ms: Annotated[
        int, typer.Option(help="Audio of one message from the relay to the recogniser, in milliseconds.", min=20, max=200)
    ] = 20,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Logs of the processes.")] = Path("load-out"),
    overrides: Overrides = None,
) -> None:
    """Hold the conversations of `voicefsm load` with a bare relay and with a gateway, in turns, and say what each costs."""
    from voicefsm import loop  # noqa: PLC0415  # a quick --help
    from voicefsm.load import LoadSettings, report  # noqa: PLC0415
    from voicefsm.load.floor import HEAD, document, lines, measure, summary  # noqa: PLC0415

    counts, settings = counts_of(sessions, least=1), LoadSettings(out=out)
    print(HEAD, flush=True)

    def show(pair: Pair) -> None:
        print(lines(pair), flush=True)

    pairs = loop.run(measure(counts, seconds, settings, chunk_ms=chunk_ms, overrides=overrides or (), on_pair=show))
    if json_file is not None:
        report.write(json_file, document(pairs, settings))
    print(summary(pairs, settings))


@bench.command()
def echo(  # noqa: PLR0917  # options, given by name
    canceller: Annotated[
        list[str] | None,
        typer.Option(
            help="Canceller, or MODULE:FUNCTION; may be repeated. Without: own, speex and aec3, if installed.", show_default=False
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the mixed conditions and the channels.", metavar="FROM:TO")] = "1:13",
    part: Annotated[
        list[str] | None, typer.Option(help="mixed, channel, sweep, damage or near; may be repeated.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few scenes of each part: that it works, not how well.")] = False,
    procs: Annotated[int, typer.Option(help="Processes.", min=1, max=64)] = 1,
    voices: Annotated[
        Path | None, typer.Option(help="Keep the synthesised voices here for the next run.", metavar="DIR", show_default=False)
    ] = None,
    limits: Annotated[
        Path | None, typer.Option(help="Figures that must be met (TOML); exit code 1 if not.", show_default=False)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures into this file.", show_default=False)] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the figures into this file (png, svg, pdf).", show_default=False)
    ] = None,
) -> None:
    """Simulate rooms, delays, drift, loudspeakers and talkers; compare echo cancellers and what they take for a barge-in.

    Exit code 1: a limit is not met.
    """
    with needs("bench echo", "bench"):
        for package in ("matplotlib", "pystoi"):  # before an hour of work, not after it
            importlib.import_module(package)
        from voicefsm.bench.echo.bench import PARTS, Wish, measure  # noqa: PLC0415  # a quick --help
        from voicefsm.bench.echo.subjects import standard  # noqa: PLC0415

    wish = Wish(
        cancellers=tuple(canceller or standard()),
        seeds=_seeds(seeds, is_quick=quick),
        parts=_parts(part, PARTS),
        is_quick=quick,
        procs=procs,
        recordings=voices,
        limits=limits,
        json_file=json_file,
        picture=picture,
    )
    verdict = measure(wish, _progress)
    print(verdict.text)
    if not verdict.is_good:
        raise typer.Exit(1)


def _seeds(text: str, *, is_quick: bool) -> range:
    try:
        first, end = map(int, text.split(":"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not FROM:TO.", param_hint="--seeds") from error
    if not 0 <= first < end:
        raise typer.BadParameter(f"{text!r} has no seeds in it.", param_hint="--seeds")
    return range(first, min(end, first + 2) if is_quick else end)


def _parts(chosen: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    for name in chosen or ():
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}.", param_hint="--part")
    return tuple(chosen or known)


def _progress(done: int, scenes: int) -> None:
    """On a terminal only: the last line on standard output is the summary."""
    if sys.stderr.isatty():
        print(f"\r{done} of {scenes} scenes", end="\n" if done == scenes else "", file=sys.stderr, flush=True)


@bench.command()
def turns(  # noqa: PLR0917  # options, given by name
    data: Annotated[
        Path | None, typer.Option(help="Stimuli in fdstim's layout; none: a small set is made in OUT/stimuli.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for recordings, journals and the failures, explained.")] = Path(
        "bench-turns"
    ),
    runs: Annotated[
        Path | None, typer.Option(help="Score these recordings, and run nothing.", metavar="DIR", show_default=False)
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Items whose id begins so; may be repeated.", show_default=False)] = None,
    n: Annotated[int | None, typer.Option(help="At most so many items of each category.", min=1, show_default=False)] = None,
    asr: Annotated[Literal["words", "slow", "deaf"], typer.Option(help="How well the recogniser hears.")] = "words",
    room: Annotated[bool, typer.Option("--room", help="The microphone also hears the loudspeaker, in a room.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1, max=64)] = 1,
    calls: Annotated[int, typer.Option(help="Calls at a time in each.", min=1, max=200)] = 12,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Let time pass as it does, instead of jumping over waiting.")
    ] = False,
    limits: Annotated[
        Path | None, typer.Option(help="Figures that must be met (TOML); exit code 1 if not.", show_default=False)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything into this file.", show_default=False)] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the figures into this file (png, svg, pdf).", show_default=False)
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Play recorded users to the whole gateway over gRPC, with scripted backends, and score how it takes turns.

    Exit code 1: a call failed, or a limit is not met.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before gRPC is loaded, here and in the processes
    from voicefsm.bench.turns.backends import Ear  # noqa: PLC0415
    from voicefsm.bench.turns.bench import Wish, measure  # noqa: PLC0415  # a quick --help
    from voicefsm.bench.turns.run import Manner  # noqa: PLC0415
    from voicefsm.config import load  # noqa: PLC0415

    if picture is not None:
        with needs("bench turns --picture", "timeline"):
            importlib.import_module("matplotlib")  # found out before the work, not after it
    wish = Wish(
        data=data,
        out=out,
        runs=runs,
        only=tuple(only or ()),
        per_category_max=n,
        jobs=jobs,
        calls=calls,
        manner=Manner(ear=Ear(asr), is_virtual=not real_time, in_room=room),
        limits=limits,
        json_file=json_file,
        picture=picture,
    )
    verdict = measure(wish, partial(_gateway, load(file=config, overrides=overrides or [])))
    print(verdict.text)
    if not verdict.is_good:
        raise typer.Exit(1)


@asynccontextmanager
async def _gateway(settings: Settings, addresses: Addresses) -> AsyncGenerator[int]:
    """A gateway for one call of `bench turns`, in this process; the settings are the user's, but for the places."""
    journaled = dataclasses.replace(settings, journal=dataclasses.replace(settings.journal, dir=str(addresses.journals)))
    async with _placed(journaled, addresses.riva, addresses.llm) as port:
        yield port


@asynccontextmanager
async def _placed(settings: Settings, riva: str, llm: str) -> AsyncGenerator[int]:
    """A gateway in this process, on a free port, with these backends."""
    from voicefsm.app import running  # noqa: PLC0415
    from voicefsm.telemetry.log import configure  # noqa: PLC0415

    configure("error", settings.log.format)
    replace = dataclasses.replace
    placed = replace(
        settings,
        server=replace(settings.server, host="127.0.0.1", port=0, drain_ms_max=0),
        riva=replace(settings.riva, target=riva),
        llm=replace(settings.llm, base_url=llm, warm_up=False),
    )
    async with running(placed) as port:
        yield port


# --- what is measured --------------------------------------------------------------------------------------------------------


def _recorded(journal: Path | None) -> tuple[Sequence[Fact], TurnSettings]:
    if journal is None:
        stage = _stage()
        _play(stage)
        return [step.fact for step in stage.witness.steps], stage.plan.turns
    from voicefsm.simulation.replay import JournalError, read  # noqa: PLC0415

    try:
        recording = read(journal)
    except JournalError as error:
        raise typer.BadParameter(error.message, param_hint="JOURNAL") from error
    return [step.fact for step in recording.steps if not step.refused], recording.settings


def _stage() -> Stage:
    """A conversation with everything in it: a question, a backchannel over the answer, a barge-in, a second answer."""
    from voicefsm.ports import Hypothesis  # noqa: PLC0415
    from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer  # noqa: PLC0415
    from voicefsm.simulation.stage import Stage, saying  # noqa: PLC0415

    cut = "wait what time is it"
    heard = [
        *saying((1200, "tell me a story")),
        (3000, Hypothesis("okay", is_final=False)),
        (4300, Hypothesis(cut, is_final=False)),
        (4400, Hypothesis(cut, is_final=False)),
        (5200, Hypothesis(cut, is_final=True)),
    ]
    story = "Once upon a time there was a king. He had a very long story to tell. It went on and on."
    return Stage(recognizer=FakeRecognizer(heard), model=FakeLanguageModel([story, "It is noon."], token_ms=40))


def _play(stage: Stage) -> None:
    from voicefsm.runtime.session import Session  # noqa: PLC0415
    from voicefsm.simulation import virtual  # noqa: PLC0415

    virtual.run(stage.play(speech=[(200, 1200), (2600, 2900), (3600, 4800)], script=[(8000, Session.hang_up)]))


def _converse() -> None:
    """One session to its end. Its audience goes apart, so that what is left is the session's own."""
    stage = _stage()
    _play(stage)
    vars(stage.client).clear()
    vars(stage).clear()


# --- how it is told ----------------------------------------------------------------------------------------------------------


def _times(times: StepTimes) -> str:
    rows: Mapping[str, Spread] = {"all steps": times.all, **times.by_fact}
    lines = [f"{'fact':20} {'steps':>8} {'median':>10} {'p95':>10}"]
    lines += [f"{name:20} {of.count:8} {_us(of.median_ns):>10} {_us(of.p95_ns):>10}" for name, of in rows.items()]
    calls = times.all.median_ns / times.calibration_ns
    lines.append(f"{'calibration loop':20} {'':8} {_us(times.calibration_ns):>10}   a step costs {calls:.2f} of it")
    return "\n".join(lines)


def _us(ns: float) -> str:
    return f"{ns / 1000:.1f} µs"


def _memory(memory: SessionMemory) -> str:
    return (
        f"memory per session: context {memory.context} bytes, added by the library {memory.library} bytes; "
        f"models registered with it: {memory.registered}"
    )


def _garbage(garbage: Garbage) -> str:
    most = ", ".join(f"{name} {count:.0f}" for name, count in list(garbage.by_type.items())[:5])
    return f"left to the cyclic collector per closed session: {garbage.objects:.0f} objects{f' ({most})' if most else ''}"
