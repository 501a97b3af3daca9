"""The main job on real input: real processes, real audio, real time, and a verdict.

`run` starts the embedded backends and the gateway as child processes, lets a scripted user with a synthesised voice hold a
conversation over gRPC, and leaves the recording, the journal, the pictures and a report in a directory.
"""

from voicefsm.demo.report import Report, TurnReport
from voicefsm.demo.run import run
from voicefsm.demo.settings import DemoSettings

__all__ = ["DemoSettings", "Report", "TurnReport", "run"]
