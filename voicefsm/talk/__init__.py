"""A conversation with a person: the machine's microphone and loudspeaker (the extra [talk]), or WAV files where there is none."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape

from voicefsm.client import (
    AssistantText,
    Conversation,
    ConversationEnded,
    GoAway,
    PlayoutDucked,
    PlayoutPaused,
    PlayoutResumed,
    ServerError,
    SessionOptions,
    StateChanged,
    Transcript,
    TtsCancelled,
    TurnCompleted,
    resuming,
)
from voicefsm.client.events import Event
from voicefsm.errors import VoiceFsmError
from voicefsm.talk import device, files
from voicefsm.talk.device import NoAudio
from voicefsm.talk.settings import TalkSettings

__all__ = ["NoAudio", "TalkSettings", "run"]

T = TypeVar("T")


async def run(settings: TalkSettings) -> str:
    """Talk until the server or Ctrl-C ends it; returns a summary of one line.

    Raises `NoAudio` when the machine has no usable audio, `ConversationFailed` when the server ends the call with an error, and
    `OSError` at once when `wav_out` cannot be written.
    """
    console = Console(highlight=False)
    if settings.wav_in is not None:
        return await _with_files(settings, console)
    if settings.wav_out is not None:
        raise VoiceFsmError("--wav-out needs --wav-in.", remedy="Give both, or neither for the microphone.")
    return await _with_devices(settings, console)


def _options(settings: TalkSettings) -> SessionOptions:
    return SessionOptions(
        language_code=settings.language_code, voice_name=settings.voice_name, client_echo_cancellation=settings.headset
    )


async def _with_files(settings: TalkSettings, console: Console) -> str:
    assert settings.wav_in is not None
    recording = files.read(settings.wav_in)
    if settings.wav_out is not None:
        files.check_writable(settings.wav_out)
    options = _options(settings)
    async with (
        Conversation.connect(settings.target, options, access=settings.access) as conversation,
        _beside(_count(conversation, console)) as watching,
    ):
        heard = await files.play(conversation, recording, settings.wav_tail_ms)
        await conversation.end()
        turns = await watching
    if settings.wav_out is not None:
        files.write(settings.wav_out, heard)
    return f"talk: {turns} turns"


async def _with_devices(settings: TalkSettings, console: Console) -> str:
    sounddevice = device.load()
    microphone, loudspeaker = device.check(sounddevice, settings.input_device, settings.output_device)
    console.print(f"[dim]microphone {escape(microphone)}, loudspeaker {escape(loudspeaker)}; Ctrl-C hangs up[/dim]")
    turns = dropped = underruns = 0

    async def converse(conversation: Conversation) -> None:
        nonlocal turns, dropped, underruns
        duplex = device.Duplex(conversation.player)
        try:
            with duplex.open(sounddevice, settings.input_device, settings.output_device):
                _hang_up_on_interrupt(conversation)
                async with _beside(_send(conversation, duplex)):
                    async for turn in _watch(conversation, console):
                        turns += turn
        finally:
            dropped += duplex.dropped_blocks
            underruns += conversation.player.underruns

    await resuming([settings.target], _options(settings), converse, access=settings.access)
    return f"talk: {turns} turns, {dropped} blocks dropped, {underruns} underruns"


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Work that ends with the block, at the latest. What ends the block is told, and not that it ended the work as well."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _hang_up_on_interrupt(conversation: Conversation) -> None:
    """Ctrl-C ends the conversation, not the program: the summary still comes. Where signals cannot be had it ends the program."""
    loop = asyncio.get_running_loop()

    def hang_up() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends the program
        ending.append(loop.create_task(conversation.end()))

    ending: list[asyncio.Task[None]] = []
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGINT, hang_up)


async def _send(conversation: Conversation, duplex: device.Duplex) -> None:
    """Microphone to server, until the conversation is over."""
    try:
        while True:
            captured = await duplex.queue.get()
            await conversation.send_audio(
                captured.samples, capture_sample=captured.capture_sample, far_end_sample=captured.far_end_sample
            )
    except ConversationEnded:
        return


async def _count(conversation: Conversation, console: Console) -> int:
    """Show what happens; returns the number of turns."""
    return sum([turn async for turn in _watch(conversation, console)])


async def _watch(conversation: Conversation, console: Console) -> AsyncIterator[bool]:
    """Show what happens; says of each event whether a turn is over."""
    async for event in conversation:
        line = _told(event)
        if line:
            console.print(line)
        yield isinstance(event, TurnCompleted)


def _told(event: Event) -> str:  # noqa: PLR0911 - one return for each kind
    """An event as a line; empty when it gets none."""
    match event:
        case Transcript(is_final=True):
            return f"[bold blue]you       [/bold blue] {escape(event.text)}"
        case AssistantText():
            return f"[bold green]assistant [/bold green] {escape(event.text)}"
        case StateChanged():
            return f"[dim]          {event.after}[/dim]"
        case PlayoutPaused():
            return "[dim]          (pause)[/dim]"
        case PlayoutDucked():
            return "[dim]          (quieter)[/dim]"
        case PlayoutResumed():
            return "[dim]          (goes on)[/dim]"
        case TtsCancelled():
            return "[red]          (cut)[/red]"
        case GoAway():
            return "[dim]          (the server is going to stop; another goes on)[/dim]"
        case ServerError():
            return f"[bold red]error     [/bold red] {escape(event.message)} {escape(event.remedy)}"
    return ""
