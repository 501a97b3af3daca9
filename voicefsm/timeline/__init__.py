"""The picture of one session: both voices, the states, the words, and what happened when. Needs the extra [timeline]."""

from __future__ import annotations

import io
from pathlib import Path

from voicefsm.timeline import page, picture, recording, session

DPI = 110


def draw(journal: Path, out: Path, wav: Path | None = None, microphone: Path | None = None) -> None:
    """Draw the session of `journal` into `out`, a .png or .html file; with its recording `wav` (stereo), if there is one.

    `microphone` (mono) is what the microphone heard, echo included; it is drawn behind the user's voice, and needs `wav`.

    Raises `VoiceFsmError` when a file is not what it should be, OSError when it cannot be read or written.
    """
    told = session.read(journal)
    heard = recording.read(wav, microphone) if wav else None
    title = f"Conversation {told.session_id}".strip()
    drawing, rows = picture.figure(told, heard, title)
    if out.suffix == ".png":
        drawing.savefig(out, dpi=DPI)
        return
    text = io.StringIO()
    drawing.savefig(text, format="svg", metadata={"Date": None})
    audio = page.audio_of(wav, out) if wav else ""
    if wav and microphone:
        audio += page.audio_of(microphone, out, "What the microphone heard")
    out.write_text(page.page(told, text.getvalue(), rows, title, audio), encoding="utf-8")
