"""A conversation in Hindi over the scripted Riva, from the microphone to the loudspeaker; and what cannot be offered."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from voicefsm.client import AssistantText, Conversation, NotOffered, SessionOptions, Transcript, TurnCompleted
from voicefsm.runtime.plan import HINDI_SYSTEM_PROMPT
from voicefsm.scripted import AsrScript, At, TtsScript, final, partial

QUESTION = "आज का तापमान कितना है"
REPLY = "आज तापमान 23.5 डिग्री है। कल 25 डिग्री होगा। डॉ. शर्मा का कहना है कि १५ तारीख को बारिश होगी।"
SENTENCES = ["आज तापमान 23.5 डिग्री है।", "कल 25 डिग्री होगा।", "डॉ. शर्मा का कहना है कि १५ तारीख को बारिश होगी।"]
EARS = AsrScript([(At(600), partial("आज का")), (At(1000), final(QUESTION))], models=[("asr-hi", "hi-IN")])
VOICE = TtsScript(char_ms=10, voices=[("tts-hi", "hi-IN", "Hindi-Female")])
OPTIONS = SessionOptions(language_code="hi-IN", voice_name="Hindi-Female", client_echo_cancellation=True)


async def speak(conversation: Conversation) -> None:
    """A microphone; what is said stands in the recogniser's script."""
    while True:
        await conversation.send_audio(np.zeros(320, np.int16))
        await asyncio.sleep(0.02)


async def test_hindi_from_end_to_end(world):
    """Otherwise a user who speaks Hindi is heard in English, answered in English, or read numbers torn apart at their dots."""
    async with world(asr=EARS, tts=VOICE, replies=[REPLY, "ठीक है।"]) as w, w.connect(OPTIONS) as conversation:
        talking = asyncio.create_task(speak(conversation))
        events = await w.listen(conversation, until=lambda event: isinstance(event, TurnCompleted))
        talking.cancel()
        turn = events[-1]
        await w.turn(conversation, "ठीक है")
    finals = [e.text for e in events if isinstance(e, Transcript) and e.is_final]
    assert [text for text in finals if text] == [QUESTION]  # an empty one says that nothing came after it
    assert [e.text for e in events if isinstance(e, AssistantText)] == SENTENCES
    assert (turn.user_text, turn.heard_text) == (QUESTION, REPLY)
    assert {stream.config.config.language_code for stream in w.riva.asr.streams} == {"hi-IN"}
    assert {(asked.language_code, asked.voice_name) for asked in w.riva.tts.asked} == {("hi-IN", "Hindi-Female")}
    assert " ".join(asked.text for asked in w.riva.tts.asked) == f"{REPLY} ठीक है।"
    first, second = (request.messages for request in w.llm.requests)
    assert first == ({"role": "system", "content": HINDI_SYSTEM_PROMPT}, {"role": "user", "content": QUESTION})
    assert second[2] == {"role": "assistant", "content": REPLY}


@pytest.mark.parametrize(
    ("asr", "tts", "options", "said"),
    [
        (AsrScript(), VOICE, OPTIONS, "ASR server does not recognise 'hi-IN'; it offers en-US"),
        (EARS, TtsScript(), OPTIONS, "TTS server does not speak 'hi-IN'; it offers en-US"),
        (EARS, VOICE, SessionOptions(language_code="hi-IN", voice_name="X"), "no voice 'X' for 'hi-IN'; it has Hindi-Female"),
    ],
)
async def test_what_a_server_lacks_is_refused_at_once(world, asr, tts, options, said):
    """Otherwise the user speaks to a server that cannot hear them, and learns it from silence."""
    async with world(asr=asr, tts=tts) as w:
        with pytest.raises(NotOffered, match=said) as caught:
            async with w.connect(options):
                pass
    assert "Set `" in str(caught.value)
    assert not w.llm.requests
