"""L: the language model."""

from __future__ import annotations

from voicefsm.conformance.item import Check, Failed, Need
from voicefsm.conformance.targets import Targets


async def done(targets: Targets) -> str:
    """L5. The last event of a stream is [DONE]."""
    llm = targets.llm
    names = await llm.model.models()
    if not names:
        raise Failed("it lists no model")
    body = {
        "model": llm.settings.model or names[0],
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 16,
        "stream": True,
    }
    async with llm.client.stream("POST", "chat/completions", json=body) as response:
        text = (await response.aread()).decode(errors="replace").strip()
    if not text.endswith("data: [DONE]"):
        raise Failed(f"the stream ends with {text[-80:]!r}")
    return ""


CHECKS: tuple[Check, ...] = (Check("L5", "a stream ends with [DONE]", done, needs=Need.LLM),)
