"""One reply: the model writes, the voice speaks. Two tasks, both cancelled at once when the reply is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing

from voicefsm.errors import BackendError, ContextOverflow
from voicefsm.events import BackendFailed, Fact, FirstAudio, GenerationFinished, SentenceReady, TokenArrived, ToolsCalled
from voicefsm.ports import GenerationRequest, LanguageModel, SynthesisRequest, SynthesisStream, Synthesizer, WantedCall
from voicefsm.runtime.playout import Playout
from voicefsm.runtime.speakable import SentenceCutter
from voicefsm.runtime.tools import calls_of
from voicefsm.values import Backend, Epoch

AHEAD_CHARS = 40
"""Who has so much to say, 2.6 s of speech, can wait a little for what comes next …"""
LATE_MS = 50
"""… and the pieces of so much time are taken at once: a token that is waited for costs twice as much as one that is there."""
WAITED_MS = 5
"""A piece that took less was there before it was asked for: the loop has others to serve."""


async def write(
    model: LanguageModel,
    ask: Callable[[], GenerationRequest],
    epoch: Epoch,
    *,
    now: Callable[[], int],
    tell: Callable[[Fact], None],
    shorten: Callable[[], bool],
    count: Callable[[], None] = lambda: None,
    first_call: int = 0,
    chars_max: int = sys.maxsize,
) -> None:
    """Let the model answer, and cut its answer into sentences. Ends with `GenerationFinished`, `ToolsCalled` or `BackendFailed`.

    `first_call` is the number of the next call of a tool in this reply. `ask` makes the request. When it is too long for the model,
    `shorten` makes the next one shorter, and says whether it could: a backend that is well and was asked too much has not failed
    yet, so it is asked once more. `count` is called for each piece. What is written beyond `chars_max` is cut off.
    """
    teller = _Teller(epoch, now, tell)
    for may_ask_again in (True, False):
        request = ask()
        try:
            wanted = await _write(model, request, teller, count, chars_max)
        except BackendError as error:
            is_shorter = isinstance(error, ContextOverflow) and shorten()  # if this reply is lost, the next need not be
            if is_shorter and may_ask_again and not teller.has_begun:
                continue
            tell(failed(now(), epoch, error))
        else:
            calls = calls_of(wanted, request.tools, epoch, first_call)
            tell(ToolsCalled(now(), epoch, calls) if calls else GenerationFinished(now(), epoch))
        return


async def retell(sentences: Sequence[str], epoch: Epoch, *, now: Callable[[], int], tell: Callable[[Fact], None]) -> None:
    """What the model wrote in another session, told as if it wrote it now."""
    teller = _Teller(epoch, now, tell)
    teller.begin()
    teller.say(sentences)
    tell(GenerationFinished(now(), epoch))


class _Teller:
    """Tells what is written of one reply."""

    def __init__(self, epoch: Epoch, now: Callable[[], int], tell: Callable[[Fact], None]) -> None:
        self.has_begun = False
        """Whether a token came."""
        self.now = now
        self.chars = 0
        """Of all sentences told."""
        self._epoch, self._tell = epoch, tell
        self._sentences = 0

    def begin(self) -> None:
        """A token came; the first is news."""
        if not self.has_begun:
            self.has_begun = True
            self._tell(TokenArrived(self.now(), self._epoch))

    def say(self, sentences: Iterable[str]) -> None:
        """These can be spoken."""
        for sentence in sentences:
            self._tell(SentenceReady(self.now(), self._epoch, self._sentences, sentence))
            self._sentences += 1
            self.chars += len(sentence)


async def _write(
    model: LanguageModel, request: GenerationRequest, teller: _Teller, count: Callable[[], None], chars_max: int
) -> list[WantedCall]:
    """Tell what can be said, and return what the model asks for."""
    cutter, left = SentenceCutter(is_eager=True), chars_max
    wanted: list[WantedCall] = []
    async with aclosing(model.stream(request)) as pieces:
        asked_ms = teller.now()
        async for piece in pieces:
            teller.begin()
            count()
            if isinstance(piece, str):
                teller.say(cutter.feed(piece[:left]))
                left -= len(piece)
                if left <= 0:
                    break
            else:
                wanted.append(piece)
            if teller.chars >= AHEAD_CHARS and teller.now() - asked_ms >= WAITED_MS:  # else more is here already
                await asyncio.sleep(LATE_MS / 1000)
            asked_ms = teller.now()
    teller.say(cutter.flush())
    return wanted


def failed(at_ms: int, epoch: Epoch, error: BackendError) -> BackendFailed:
    """A backend's error as a fact."""
    return BackendFailed(at_ms, epoch, error.backend, error.message, error.remedy, error.retryable, error.retry_after_ms)


class Voice:
    """The voice of one reply. Text may come before the stream is open, and is kept for another attempt."""

    def __init__(self) -> None:
        self._stream: SynthesisStream | None = None
        self._texts: list[tuple[int, str]] = []
        self.is_finished = False
        """Whether there is no more text to come."""
        self.is_dumb = False
        """Whether it was given up: text is taken, and nobody speaks it."""

    def speak(self, index: int, text: str) -> None:
        """Queue one sentence."""
        self._texts.append((index, text))
        if self._stream is not None:
            self._stream.speak(index, text)

    def finish(self) -> None:
        """No more sentences."""
        self.is_finished = True
        if self._stream is not None:
            self._stream.finish()

    def leave(self) -> None:
        """Stop the server now. The task that runs this learns of its own end a turn of the loop later, which may take a while."""
        if self._stream is not None:
            self._stream.leave()

    async def run(
        self,
        synthesizer: Synthesizer,
        request: SynthesisRequest,
        playout: Playout,
        *,
        now: Callable[[], int],
        tell: Callable[[Fact], None],
        wake: Callable[[], None],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        """Deliver audio to the playout, when there is `room`, until the reply is spoken, and finish the playout.

        When the voice fails the playout stays open: what happens next is the machine's decision, and it gives an order in any case.
        """
        epoch = playout.epoch
        try:
            async with synthesizer.open(request) as stream:
                self._attach(stream)
                is_silent = True
                async for audio in stream:
                    if is_silent and len(audio.samples):
                        is_silent = False
                        tell(FirstAudio(now(), epoch))
                    if playout.add(audio):
                        wake()
                    await room()
            self._check(is_silent=is_silent)
        except BackendError as error:
            tell(failed(now(), epoch, error))
        else:
            if playout.epoch == epoch:
                playout.finish()
                wake()
        finally:
            self._stream = None

    def _attach(self, stream: SynthesisStream) -> None:
        self._stream = stream
        for index, text in self._texts:
            stream.speak(index, text)
        if self.is_finished:
            stream.finish()

    def _check(self, *, is_silent: bool) -> None:
        """The stream has ended well: has it done its work?"""
        if not self.is_finished:
            raise BackendError(Backend.TTS, "The TTS server ended the reply while it was being written.")
        if is_silent and self._texts:
            remedy = "Check that the TTS server can speak this language and text."
            raise BackendError(Backend.TTS, "The voice made no audio of the answer.", remedy=remedy, retryable=False)
