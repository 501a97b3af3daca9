"""`python -m voicefsm.load.callers JSON`: callers that come and go as they are told, a process of its own.

For load tools that have a scheduler of their own, which grpc.aio cannot run in: locust's gevent (locustfile.py). Told on standard
input, a line each: `come 7`, `go 7`; the end of it sends everybody home. What each sees is told on standard output as it is seen, a
JSON object a line: `{"caller": 7, "saw": "pause", "ms": 83.1}`, and when its call is over `{"caller": 7, "saw": "end", …}`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import time
from typing import Any

import grpc.aio

from voicefsm.load.caller import Caller
from voicefsm.load.crowd import OPTIONS, utterances
from voicefsm.load.settings import LoadSettings
from voicefsm.loop import run

TELL_S = 0.25
"""How often what was seen is told."""
LINE_BYTES_MAX = 1000
LATENCIES = {"first audio": "first_audio_ms", "pause": "pause_ms", "cancel": "cancel_ms", "late frame": "late_frames_ms"}
"""What is told as it is seen: its name, and the list of `Seen` that holds it. A late frame is the driver's own."""
COUNTS = {"missing answer": "missing_answers", "ignored": "ignored"}
"""The same, without a latency."""


class Lines:
    """Channels with room, to one gateway."""

    def __init__(self, settings: LoadSettings) -> None:
        self._target, self._calls_max = settings.target, settings.calls_per_connection
        self._calls: dict[grpc.aio.Channel, int] = {}

    def take(self) -> grpc.aio.Channel:
        """One with room for a call."""
        channel = next((channel for channel, calls in self._calls.items() if calls < self._calls_max), None)
        if channel is None:
            channel = grpc.aio.insecure_channel(self._target, OPTIONS)
        self._calls[channel] = self._calls.get(channel, 0) + 1
        return channel

    def give_back(self, channel: grpc.aio.Channel) -> None:
        """The call is over."""
        self._calls[channel] -= 1

    async def aclose(self) -> None:
        """Nobody calls any more."""
        for channel in self._calls:
            await channel.close()


def tell(caller: int, saw: str, **more: Any) -> None:
    """A line."""
    print(json.dumps({"caller": caller, "saw": saw} | more), flush=True)  # noqa: T201, it is a command


async def call(number: int, caller: Caller) -> None:
    """One call to its end, and what is seen in it."""
    talking = asyncio.create_task(caller.run(math.inf), name=f"caller {number}")
    told = dict.fromkeys([*LATENCIES, *COUNTS], 0)
    began = time.monotonic()
    while not talking.done():
        await asyncio.wait([talking], timeout=TELL_S)
        for saw, name in LATENCIES.items():
            values = getattr(caller.seen, name)
            for ms in itertools.islice(values, told[saw], None):
                tell(number, saw, ms=ms)
            told[saw] = len(values)
        for saw, name in COUNTS.items():
            for _ in range(told[saw], getattr(caller.seen, name)):
                tell(number, saw)
            told[saw] = getattr(caller.seen, name)
    seen = await talking
    ms = (time.monotonic() - began) * 1000
    tell(number, "end", ms=ms, frames=seen.frames, gaps=seen.underruns + seen.gaps, refused=seen.refused, errors=seen.errors)


async def main(settings: LoadSettings) -> None:
    """Do as told until standard input ends and the last call is over."""
    said, lines = utterances(settings), Lines(settings)
    callers: dict[int, Caller] = {}
    reader = asyncio.StreamReader(LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def hold(number: int) -> None:
        channel = lines.take()
        callers[number] = Caller(channel, said[number % len(said)], settings, lambda: 0.0)
        try:
            await call(number, callers[number])
        finally:
            del callers[number]
            lines.give_back(channel)

    async with asyncio.TaskGroup() as calls:
        async for line in reader:
            verb, number = line.decode().split()
            if verb == "come":
                calls.create_task(hold(int(number)))
            elif int(number) in callers:
                callers[int(number)].hang_up()
        for caller in callers.values():
            caller.hang_up()
    await lines.aclose()


if __name__ == "__main__":
    run(main(LoadSettings(**json.loads(sys.argv[1]))))
