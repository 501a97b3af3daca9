"""Load: scripted conversations in real time against a gateway, and what each costs. `voicefsm load`, `tox -e load`.

backends       scripted Riva and NIM with known delays, a process of their own
caller         one user: speaks, listens, interrupts, and keeps time whatever the gateway does
echo           a loudspeaker beside the microphone
crowd          so many callers at a time, and what they saw
relay          a bare relay that can stand in the gateway's place: the floor
stage          the processes of a run, each on its core, and what the gateway's used
scrape         the gateway's own metrics
cancellations  from the gateway's decisions to barge in to what the voice's server saw of them
percentiles    a latency in a few numbers
figures        from observations to figures and limits
report         the table, the JSON, the picture of the curve
run            a level, a sweep
floor          the gateway beside the bare relay, in turns
"""

from __future__ import annotations

from voicefsm.load import report
from voicefsm.load.run import run
from voicefsm.load.settings import LoadSettings

__all__ = ["LoadSettings", "report", "run"]
