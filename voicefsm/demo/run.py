"""The demo from start to finish: processes up, conversation, files, verdict.

Three tasks live while the conversation does: the line (one frame every 20 ms), the observer (events) and the user (the script). The
user's task is the one that ends it. Whatever goes wrong becomes a problem in the report, never a lost recording.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc

from voicefsm import timeline
from voicefsm.client import Conversation, SessionOptions
from voicefsm.demo import report as judge
from voicefsm.demo import script
from voicefsm.demo.backends import Stage, engines, stage
from voicefsm.demo.line import Line
from voicefsm.demo.live import Screen
from voicefsm.demo.report import Lived, Report
from voicefsm.demo.room import NONE
from voicefsm.demo.settings import DemoSettings
from voicefsm.demo.voice import Voices, choose_voices, speak
from voicefsm.errors import VoiceFsmError
from voicefsm.processes import ProcessDied, ended_by_signals

PACKAGES = ("voicefsm", "grpcio", "nvidia-riva-client", "protobuf", "numpy", "transitions")
"""Whose versions the report names."""
FILES = ("conversation.wav", "microphone.wav", "journal.jsonl", "timeline.html", "timeline.png", "report.json")
"""What a demo leaves; those of an earlier one are removed first."""
DEATH_S_MAX = 0.5
"""How long to wait for news of a child's death after a call broke off."""
GOODBYE_S_MAX = 5.0
"""How long the server may take to end the call after the user hung up."""


async def run(settings: DemoSettings) -> Report:
    """Hold the conversation and leave its files in `settings.out`. What goes wrong is in `Report.problems`, not raised."""
    settings.out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (settings.out / name).unlink(missing_ok=True)
    with Screen() as screen, ended_by_signals():
        try:
            report = await _stage_and_talk(settings, screen)
        except VoiceFsmError as error:
            report = Report(ok=False, problems=[str(error)], turns=[], facts=_facts())
        except grpc.aio.AioRpcError as error:
            problem = f"The embedded TTS server refused the user's voice: {error.code().name}, {error.details()}."
            report = Report(ok=False, problems=[problem], turns=[], facts=_facts())
    path = settings.out / "report.json"
    path.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


async def _stage_and_talk(settings: DemoSettings, screen: Screen) -> Report:
    with tempfile.TemporaryDirectory(prefix="voicefsm-demo-") as directory:
        journals = Path(directory)
        screen.note("starting the embedded backends and the gateway …")
        async with stage(settings, journals) as up:
            voices = await choose_voices(up.riva, settings.user_voice, settings.assistant_voice)
            screen.note(
                f"gateway {up.gateway}, ASR and TTS {up.riva}, LLM {up.llm}; user {voices.user}, assistant {voices.assistant}"
            )
            call = _Call(settings, screen, up, voices)
            screen.note(f"room: {settings.room.told() if settings.room else 'none, the microphone hears the user alone'}")
            await call.hold()
            facts = _facts() | call.facts | {"engines": await engines(up)}
        call.keep_files(settings.out, journals)
    return judge.build(call.lived(), facts)


class _Call:
    """The conversation itself."""

    def __init__(self, settings: DemoSettings, screen: Screen, up: Stage, voices: Voices) -> None:
        self.session_id = ""
        self.line: Line | None = None
        self._settings = settings
        self._screen = screen
        self._stage = up
        self._voices = voices
        self._failures: list[str] = []
        self.facts: dict[str, Any] = {}
        """What the client knows about the conversation."""
        self._observer: script.Observer | None = None
        self._user: script.User | None = None

    async def hold(self) -> None:
        """Talk. What goes wrong from here on is kept for the report."""
        speech = await speak(self._stage.riva, self._voices.user, script.TEXTS)
        options = SessionOptions(language_code="en-US", voice_name=self._voices.assistant)
        try:
            async with Conversation.connect(self._stage.gateway, options) as conversation:
                self.session_id = conversation.session.session_id
                self.line = Line(conversation, self._settings.room)
                self._observer = script.Observer(conversation, self.line, self._screen.shows)
                self._user = script.User(
                    conversation, self.line, self._observer, speech=speech, settings=self._settings, show=self._screen.says
                )
                self._screen.watch(self.line)
                try:
                    await self._talk(self._user, self._observer, self.line)
                finally:
                    self._take_facts(conversation, self.line)
        except VoiceFsmError as error:
            self._failures += [*await self._deaths(), str(error)]

    async def _deaths(self) -> list[str]:
        """Processes of ours that died: rather they than what followed from it."""
        await asyncio.sleep(DEATH_S_MAX)
        found = []
        for process in self._stage.children:
            try:
                process.check()
            except ProcessDied as death:
                found.append(str(death))
        return found

    async def _talk(self, user: script.User, observer: script.Observer, line: Line) -> None:
        """Run the three tasks; the user's end, or the observer's failure, is the end."""
        speaking = asyncio.create_task(line.run(), name="line")
        observing = asyncio.create_task(observer.run(), name="observer")
        talking = asyncio.create_task(user.talk(), name="user")
        try:
            await asyncio.wait([talking, speaking, observing], return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                await talking
            await asyncio.wait([observing], timeout=GOODBYE_S_MAX)
            if not observing.done():
                raise script.Stuck("The server did not end the call after the user had hung up.")
            await observing
            if not talking.done():
                raise script.Stuck("The server ended the conversation before the user said goodbye.")
        finally:
            for task in (talking, observing, speaking):
                task.cancel()
            await asyncio.wait([talking, observing, speaking])

    def _take_facts(self, conversation: Conversation, line: Line) -> None:
        player = conversation.player
        self.facts = {
            "session_id": self.session_id,
            "echo_canceller": conversation.session.echo_canceller,
            "room": self._room(line),
            "voices": {"user": self._voices.user, "assistant": conversation.session.voice_name or self._voices.assistant},
            "player": {
                "underruns": player.underruns,
                "gaps": player.gaps,
                "late_samples": player.late_samples,
                "overflow_samples": player.overflow_samples,
            },
            "late_frames": line.late_frames,
        }

    def _room(self, line: Line) -> dict[str, Any]:
        """What the microphone heard besides the user."""
        room = self._settings.room
        if room is None:
            return {"name": NONE, "note": "The microphone heard the user alone: there was nothing for the canceller to do."}
        return dataclasses.asdict(room) | {
            "user_to_echo_db": line.user_to_echo_db(),
            "note": "Latencies count to the sample that the player hands over; it is in the air delay_ms later. "
            "The client reports its playout as if that took known_ms.",
        }

    def keep_files(self, out: Path, journals: Path) -> None:
        """The recording, the journal, and the pictures of both."""
        wav, microphone = out / "conversation.wav", out / "microphone.wav"
        kept, written = out / "journal.jsonl", journals / f"{self.session_id}.jsonl"
        try:
            if self.line:
                self.line.save(wav)
                self.line.save_microphone(microphone)
                shutil.copyfile(written, kept)
                for name in ("timeline.html", "timeline.png"):
                    timeline.draw(kept, out / name, wav, microphone if self._settings.room else None)
        except (VoiceFsmError, OSError) as error:
            self._failures.append(f"A file is missing: {error}")

    def lived(self) -> Lived:
        """What the user lived through."""
        observer, user, line = self._observer, self._user, self.line
        return Lived(
            exchanges=user.exchanges if user else [],
            moments=observer.moments if observer else [],
            heard=line.heard if line else [],
            said=line.said if line else [],
            room=self._settings.room,
            failures=[*self._failures, *(observer.failures if observer else [])],
        )


def _facts() -> dict[str, Any]:
    """What one needs to know to read the figures."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "load_1_min": round(os.getloadavg()[0], 2) if sys.platform != "win32" else None,
            "note": "All processes share this machine; the latencies hold for it under this load.",
        },
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
