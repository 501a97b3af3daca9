"""L: the language model, as what comes over its wire."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

import httpx

from voicefsm.adapters.nim import DONE, EventParser, Reasoning, SpeechFilter, WantedCalls, error_text
from voicefsm.conformance.item import BY_ITSELF, Check, Failed, Need, NotSupported, cannot_be_seen
from voicefsm.conformance.targets import Llm, Targets

TOKENS_MAX = 128
"""Length of the replies that are asked for."""
FEW_TOKENS = 4
"""Of the one that has to be cut (L15)."""
PIECES_MIN = 4
"""A reply of some sentences comes in at least so many pieces (L17)."""
STOP_S_MAX = 3.0
"""How long a generation may run on after its reader has left (L12)."""
LONG_WORDS = 1500
"""Length of the prompt that is worth caching (L14)."""

HELLO = "Say hello in one short sentence."
STORY = "Tell me about the sea, in five sentences."
COUNT = "Count from one to one hundred, in words."
WEATHER = "What is the weather in Paris right now? Use the tool."
SCRIPTS = "Repeat exactly, and nothing else: नमस्ते 🙂 façade"
LONG = " ".join(["All work and no play makes Jack a dull boy."] * (LONG_WORDS // 10)) + " Say yes."
TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, right now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


# --- one reply ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Reply:
    """A whole reply, taken apart."""

    headers: httpx.Headers
    chunks: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    """Its events, but for the last."""
    is_done: bool = False
    """Whether the last event was [DONE]."""
    first_text_ms: int = 0
    """From the request to the first text, or to the end."""

    @property
    def choices(self) -> list[Mapping[str, Any]]:
        """The choices of all chunks."""
        return [choice for chunk in self.chunks for choice in chunk.get("choices") or ()]

    @property
    def deltas(self) -> list[Mapping[str, Any]]:
        """What each choice adds."""
        return [choice.get("delta") or {} for choice in self.choices]

    @property
    def pieces(self) -> list[str]:
        """The pieces of its text."""
        return [text for delta in self.deltas if (text := delta.get("content"))]

    @property
    def finish_reason(self) -> str:
        """Why it ended; empty if it did not say."""
        return next((str(choice["finish_reason"]) for choice in self.choices if choice.get("finish_reason")), "")


async def ask(llm: Llm, text: str, *, tokens_max: int = TOKENS_MAX, **more: Any) -> Reply:
    """Ask one question, and read the reply to its end. Raises `Failed` when it is no event stream."""
    began = time.monotonic()
    async with _posted(llm, text, tokens_max, more) as response:
        if response.status_code != httpx.codes.OK:
            raise Failed(f"HTTP {response.status_code}: {error_text(await response.aread())}")
        reply = Reply(response.headers)
        async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as body:
            async for event in _events(body):
                reply.is_done = event == DONE
                if not reply.is_done:
                    reply.chunks.append(_object(event))
                if not reply.first_text_ms and (reply.pieces or reply.is_done):
                    reply.first_text_ms = round((time.monotonic() - began) * 1000)
    return reply


def _posted(llm: Llm, text: str, tokens_max: int, more: Mapping[str, Any]) -> Any:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens_max, "temperature": 0, "stream": True}
    if llm.settings.disable_thinking:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return llm.client.stream("POST", "chat/completions", json={"model": llm.settings.model, **body, **more})


async def _events(body: AsyncGenerator[bytes]) -> AsyncGenerator[str]:
    parser = EventParser()
    async for data in body:
        for event in parser.feed(data):
            yield event


def _object(event: str) -> Mapping[str, Any]:
    try:
        found = json.loads(event)
    except ValueError:
        raise Failed(f"an event is no JSON: {event[:80]!r}") from None
    if not isinstance(found, dict):
        raise Failed(f"an event is no object: {event[:80]!r}")
    if found.get("error"):
        raise Failed(f"an error inside the stream: {error_text(event.encode())}")
    return found


async def _named(targets: Targets) -> Llm:
    """The server, with the name of a model."""
    llm = targets.llm
    if not llm.settings.model:
        names = await llm.model.models()
        if not names:
            raise Failed("it lists no model")
        llm.settings = dataclasses.replace(llm.settings, model=names[0])
    return llm


# --- the shape of a stream ---------------------------------------------------------------------------------------------------


async def role(targets: Targets) -> str:
    """L1. The first chunk says who speaks."""
    reply = await ask(await _named(targets), HELLO)
    if not reply.deltas or reply.deltas[0].get("role") != "assistant":
        raise Failed(f"the first delta is {json.dumps(reply.deltas[:1])}")
    return ""


async def deltas(targets: Targets) -> str:
    """L2. Every chunk has choices, every choice of a stream a delta; it may be empty."""
    reply = await ask(await _named(targets), HELLO)
    for chunk in reply.chunks:
        if not isinstance(chunk.get("choices"), list):
            raise Failed(f"a chunk without choices: {json.dumps(chunk)[:80]}")
        if any(not isinstance(choice.get("delta"), dict) for choice in chunk["choices"]):
            raise Failed(f"a choice without a delta: {json.dumps(chunk['choices'])[:80]}")
    return f"{len(reply.chunks)} chunks"


async def finish(targets: Targets) -> str:
    """L3. One choice says why the reply ended; text may come with it, and none after it."""
    reply = await ask(await _named(targets), HELLO)
    places = [place for place, choice in enumerate(reply.choices) if choice.get("finish_reason")]
    if len(places) != 1:
        raise Failed(f"{len(places)} choices say why the reply ended")
    if any(delta.get("content") for delta in reply.deltas[places[0] + 1 :]):
        raise Failed("text comes after the reply has ended")
    return "text comes with it" if reply.deltas[places[0]].get("content") else ""


async def usage(targets: Targets) -> str:
    """L4. Token counts, where asked for, come in a chunk without choices."""
    reply = await _ask_for_usage(await _named(targets), HELLO)
    last = next((chunk for chunk in reversed(reply.chunks) if chunk.get("usage")), None)
    if last is None:
        raise NotSupported("it counts no tokens in a stream")
    if last["choices"] and last is reply.chunks[-1]:
        raise Failed("the last chunk has token counts and choices")
    counts = last["usage"]
    if not all(isinstance(counts.get(name), int) for name in ("prompt_tokens", "completion_tokens")):
        raise Failed(f"the counts are {json.dumps(counts)[:80]}")
    return f"{counts['prompt_tokens']} read, {counts['completion_tokens']} written"


async def _ask_for_usage(llm: Llm, text: str) -> Reply:
    return await ask(llm, text, stream_options={"include_usage": True})


async def done(targets: Targets) -> str:
    """L5. The last event is [DONE]."""
    reply = await ask(await _named(targets), HELLO)
    if not reply.is_done:
        raise Failed("the stream ends without [DONE]")
    return ""


async def refusal(targets: Targets) -> str:
    """L8. A model it does not have is refused with a status, and a body that says so."""
    llm = await _named(targets)
    name = "no-such-model-for-conformance"
    async with _posted(llm, HELLO, TOKENS_MAX, {"model": name}) as response:
        status, body = response.status_code, await response.aread()
    if status not in {httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY}:
        raise Failed(f"HTTP {status} for a model that is not there")
    try:
        told = json.loads(body)
    except ValueError:
        raise Failed(f"the body is no JSON: {body[:80]!r}") from None
    if not isinstance(told, dict) or error_text(body) == body.decode(errors="replace"):
        raise Failed(f"the body has no message: {body[:80]!r}")
    return f"HTTP {status}: {error_text(body)}"


# --- what is said ------------------------------------------------------------------------------------------------------------


async def reasoning(targets: Targets) -> str:
    """L9. What the model thinks can be told from what it says, with the settings as they are."""
    llm = await _named(targets)
    reply = await ask(llm, HELLO, tokens_max=1024)
    text = "".join(reply.pieces)
    is_presumed = llm.settings.reasoning is Reasoning.UNOPENED
    speech = SpeechFilter(begins_with_reasoning=is_presumed)
    said = speech.feed(text) + speech.finish(is_whole=reply.finish_reason != "length")
    if speech.closed_unopened and not is_presumed:
        raise Failed("replies begin with reasoning that nobody opened: set llm.reasoning to unopened")
    if not said.strip():
        raise Failed("nothing is said" + (": all is reasoning" if text.strip() else ""))
    fields = [name for name in ("reasoning", "reasoning_content") if any(delta.get(name) for delta in reply.deltas)]
    return f"reasoning in {fields[0]}" if fields else "reasoning in the text" if "</think>" in text else "no reasoning"


async def tools(targets: Targets) -> str:
    """L10. A tool that is wanted comes as a call that can be put together, and not as text."""
    llm = await _named(targets)
    try:
        reply = await ask(llm, WEATHER, tokens_max=1024, tools=[TOOL], tool_choice="auto")
    except Failed as failure:
        if "tool" in str(failure):
            raise NotSupported(str(failure)) from None
        raise
    calls = WantedCalls()
    for delta in reply.deltas:
        calls.take(delta.get("tool_calls"))
    if not calls.all():
        if TOOL["function"]["name"] in "".join(reply.pieces):
            raise Failed("the call comes as text: start the server with the tool call parser of this model")
        raise NotSupported("the model does not want the tool")
    for call in calls.all():
        if call.name != TOOL["function"]["name"] or not _is_object(call.arguments):
            raise Failed(f"the call is {call.name}({call.arguments[:80]})")
    return f"{call.name}({call.arguments})"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


async def encoding(targets: Targets) -> str:
    """L11. All of it is UTF-8 and lines, whatever is written."""
    llm = await _named(targets)
    async with _posted(llm, SCRIPTS, TOKENS_MAX, {}) as response:
        data = await response.aread()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Failed(f"it is no UTF-8: {error.reason} at byte {error.start}") from None
    fields = {line.partition(":")[0] for line in re.split("\r\n|\r|\n", text) if line}
    if strange := fields - {"data", "event", "id", "retry", ""}:
        raise Failed(f"a line begins with {min(strange)[:40]!r}")
    return ""


# --- what it does ------------------------------------------------------------------------------------------------------------

_RUNNING = re.compile(r"^(?:vllm:num_requests_running|num_requests_running|generations_running)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


async def abort(targets: Targets) -> str:
    """L12. Who leaves a reply ends its generation: the server's own count of running ones falls back."""
    llm = await _named(targets)
    before = await _running(llm)
    async with _posted(llm, COUNT, 2048, {}) as response:
        await anext(response.aiter_bytes())
        during = await _running(llm)
    if during <= before:
        raise NotSupported("the reply was over too soon, or the count is not of this moment")
    left = time.monotonic()
    while (running := await _running(llm)) > before:
        if time.monotonic() - left > STOP_S_MAX:
            raise Failed(f"{STOP_S_MAX:g} s after the reader left, {running:g} generations run; {before:g} before")
    return f"ended within {(time.monotonic() - left) * 1000:.0f} ms"


async def _running(llm: Llm) -> float:
    for path in ("metrics", "../metrics"):
        response = await llm.client.get(path)
        if response.status_code == httpx.codes.OK and (counts := _RUNNING.findall(response.text)):
            return sum(map(float, counts))
    raise NotSupported("no metrics say how many generations run")


async def prefix(targets: Targets) -> str:
    """L14. A prompt it has just read is cached, where it says what is."""
    llm = await _named(targets)
    cold, warm = await _ask_for_usage(llm, LONG), await _ask_for_usage(llm, LONG)
    took = f"first text after {cold.first_text_ms} ms, again after {warm.first_text_ms} ms"
    details = next((chunk["usage"].get("prompt_tokens_details") for chunk in warm.chunks if chunk.get("usage")), None)
    if not isinstance(details, dict) or details.get("cached_tokens") is None:
        raise NotSupported(f"it does not say what is cached; {took}")
    if not details["cached_tokens"]:
        raise Failed(f"nothing of a prompt it has just read is cached; {took}")
    return f"{details['cached_tokens']} tokens cached; {took}"


async def length(targets: Targets) -> str:
    """L15. A reply that was cut by its limit says so."""
    reply = await ask(await _named(targets), COUNT, tokens_max=FEW_TOKENS)
    if reply.finish_reason != "length":
        raise Failed(f"a reply of {FEW_TOKENS} tokens at most ends with {reply.finish_reason!r}")
    return ""


async def ready(targets: Targets) -> str:
    """L16. Its health page, if it has one, and its list of models agree that it is ready."""
    llm = targets.llm
    await llm.model.ready()
    page = await llm.client.get("health/ready")
    return "" if page.status_code == httpx.codes.OK else f"no health page (HTTP {page.status_code})"


async def pieces(targets: Targets) -> str:
    """L17. A reply comes in pieces, as it is written."""
    found = (await ask(await _named(targets), STORY)).pieces
    if len(found) < PIECES_MIN:
        raise Failed(f"{sum(map(len, found))} characters come in {len(found)} pieces: is there a proxy that gathers them?")
    return f"{sum(map(len, found))} characters in {len(found)} pieces"


async def headers(targets: Targets) -> str:
    """L18. The stream is declared as one."""
    found = (await ask(await _named(targets), HELLO)).headers
    if not found.get("content-type", "").startswith("text/event-stream"):
        raise Failed(f"its content type is {found.get('content-type')!r}")
    hosted: Sequence[str] = [name for name in ("nvcf-reqid", "nvcf-status") if name in found]
    return f"hosted: {', '.join(hosted)}" if hosted else ""


CHECKS: tuple[Check, ...] = (
    Check("L1", "the first chunk has the role", role, needs=Need.LLM),
    Check("L2", "every chunk has choices, every choice a delta", deltas, needs=Need.LLM),
    Check("L3", "one choice says why the reply ended, and no text comes after it", finish, needs=Need.LLM),
    Check("L4", "token counts come in a chunk without choices", usage, needs=Need.LLM),
    Check("L5", "a stream ends with [DONE]", done, needs=Need.LLM),
    Check("L6", "an error inside HTTP 200, then [DONE]", cannot_be_seen(BY_ITSELF), needs=Need.LLM),
    Check("L7", "a connection that is lost before [DONE]", cannot_be_seen(BY_ITSELF), needs=Need.LLM),
    Check("L8", "an unknown model is refused, and the body says why", refusal, needs=Need.LLM),
    Check("L9", "reasoning can be told from what is said", reasoning, needs=Need.LLM, deadline_ms=120_000),
    Check("L10", "a wanted tool comes as a call", tools, needs=Need.LLM, deadline_ms=120_000),
    Check("L11", "the stream is UTF-8, line by line", encoding, needs=Need.LLM),
    Check("L12", "leaving a reply ends its generation", abort, needs=Need.LLM),
    Check("L13", "a stall between two tokens", cannot_be_seen(BY_ITSELF), needs=Need.LLM),
    Check("L14", "a prompt it has just read is cached", prefix, needs=Need.LLM),
    Check("L15", "a reply cut by its limit says so", length, needs=Need.LLM),
    Check("L16", "it is ready, and lists its models", ready, needs=Need.LLM),
    Check("L17", "a reply comes in pieces", pieces, needs=Need.LLM),
    Check("L18", "the stream is declared as one", headers, needs=Need.LLM),
)
