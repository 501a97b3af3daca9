"""Scripted conversations as users of locust: `locust -f …/voicefsm/load/locustfile.py -H HOST:PORT`. Needs the extra [load].

Each user holds one conversation after the other: it speaks, is answered, talks over the answer. What it sees are locust's requests:

first audio   from the end of what it said to the first audio of the answer, less `--scripted-ms`; failed: no answer came
pause         from its first sample over an answer to the order to fall silent; failed: the answer went on
cancel        … to the order to throw the answer away
gap           a hole in an answer, always failed
call          a whole call; failed: the gateway refused or ended it
late frame    the driver itself was late: where there are more than a few, the latencies are its own

The callers are those of `voicefsm load`, in a process beside each of locust's (callers.py): frames leave by the clock whatever
gevent does, and no gevent is in the latencies.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import gevent
from gevent.event import Event
from locust import User, constant, events
from locust.stats import CSV_STATS_INTERVAL_SEC

from voicefsm.errors import VoiceFsmError

CLOSE_S_MAX = 15.0
"""How long the callers may take to hang up."""
FAILURES = {"missing answer": ("first audio", "no answer came"), "ignored": ("pause", "the answer went on")}


class CallFailed(VoiceFsmError):
    """What a user saw that should not be."""


class Crowd:
    """The callers' process of one process of locust."""

    def __init__(self, environment: Any) -> None:
        options = environment.parsed_options
        self._scripted_ms = options.scripted_ms
        self._requests = environment.events.request
        settings = json.dumps({"target": environment.host, "silence_ms": options.silence_ms})
        command = (sys.executable, "-m", "voicefsm.load.callers", settings)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self._numbers = itertools.count()
        self._over: dict[int, Event] = {}
        self._reading = gevent.spawn(self._read)

    def come(self) -> tuple[int, Event]:
        """A caller calls; its number, and what is set when its call is over."""
        number = next(self._numbers)
        self._over[number] = Event()
        self._say(f"come {number}")
        return number, self._over[number]

    def go(self, number: int) -> None:
        """It hangs up. Harmless when its call is over."""
        self._say(f"go {number}")

    def close(self) -> None:
        """Everybody hangs up; what was seen until then is told."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reading.join(CLOSE_S_MAX)
        self._process.kill()
        self._process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._note(json.loads(line))
        for over in self._over.values():  # the process is gone: nobody calls any more
            over.set()

    def _note(self, told: dict[str, Any]) -> None:
        saw = told["saw"]
        if saw in FAILURES:
            self._fire(FAILURES[saw][0], 0.0, FAILURES[saw][1])
        elif saw == "end":
            self._fire("call", told["ms"], "refused" if told["refused"] else "; ".join(told["errors"]))
            for _ in range(told["gaps"]):
                self._fire("gap", 0.0, "the answer had a hole")
            self._over.pop(told["caller"]).set()
        else:
            self._fire(saw, told["ms"] - (self._scripted_ms if saw == "first audio" else 0))

    def _fire(self, name: str, ms: float, failure: str = "") -> None:
        self._requests.fire(
            request_type="voice",
            name=name,
            response_time=ms,
            response_length=0,
            exception=CallFailed(failure) if failure else None,
            context={},
        )


_crowds: dict[Any, Crowd] = {}


def add_options(parser: Any) -> None:
    """Ours."""
    parser.add_argument("--scripted-ms", type=int, default=0, help="Known part of the first audio's latency, taken off it.")
    parser.add_argument("--silence-ms", type=int, default=500, help="Silence that ends a turn, as the gateway is told.")


def begin(environment: Any, **_: Any) -> None:
    """Start the callers' process, where users are."""
    if type(environment.runner).__name__ != "MasterRunner":
        _crowds[environment] = Crowd(environment)


def end(environment: Any, **_: Any) -> None:
    """Wait for what is still to be told."""
    if environment in _crowds:
        _crowds.pop(environment).close()
        gevent.sleep(CSV_STATS_INTERVAL_SEC + 0.2)  # locust writes its CSV so often, and not once more at the end


def converse(user: Any) -> None:
    """One call, until it fails or locust ends the user."""
    crowd = _crowds[user.environment]
    number, over = crowd.come()
    try:
        over.wait()
    finally:
        crowd.go(number)


class Talker(User):  # type: ignore[misc]  # locust is not there when types are checked
    """Somebody who talks with the assistant, and over it."""

    wait_time = constant(1)
    tasks = (converse,)


events.init_command_line_parser.add_listener(add_options)
events.test_start.add_listener(begin)
events.test_stop.add_listener(end)
