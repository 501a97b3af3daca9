"""One reply: the model writes, the voice speaks. Two tasks, both cancelled at once when the reply is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing

from voicefsm.errors import BackendError, ContextOverflow
from voicefsm.events import BackendFailed, Fact, FirstAudio, GenerationFinished, SentenceReady, TokenArrived
from voicefsm.ports import GenerationRequest, LanguageModel, SynthesisRequest, SynthesisStream, Synthesizer
from voicefsm.runtime.playout import Playout
from voicefsm.runtime.speakable import SentenceCutter
from voicefsm.values import Backend, Epoch


async def write(
    model: LanguageModel,
    ask: Callable[[], GenerationRequest],
    epoch: Epoch,
    *,
    now: Callable[[], int],
    tell: Callable[[Fact], None],
    shorten: Callable[[], bool],
) -> None:
    """Let the model answer, and cut its answer into sentences. Ends with `GenerationFinished` or `BackendFailed`.

    `ask` makes the request. When it is too long for the model, `shorten` makes the next one shorter, and says whether it could: a
    backend that is well and was asked too much has not failed yet, so it is asked once more.
    """
    teller = _Teller(epoch, now, tell)
    for may_ask_again in (True, False):
        try:
            await _write(model, ask(), teller)
        except BackendError as error:
            is_shorter = isinstance(error, ContextOverflow) and shorten()  # if this reply is lost, the next need not be
            if is_shorter and may_ask_again and not teller.has_begun:
                continue
            tell(failed(now(), epoch, error))
        else:
            tell(GenerationFinished(now(), epoch))
        return


class _Teller:
    """Tells what is written of one reply."""

    def __init__(self, epoch: Epoch, now: Callable[[], int], tell: Callable[[Fact], None]) -> None:
        self.has_begun = False
        """Whether a token came."""
        self._epoch, self._now, self._tell = epoch, now, tell
        self._sentences = 0

    def begin(self) -> None:
        """A token came; the first is news."""
        if not self.has_begun:
            self.has_begun = True
            self._tell(TokenArrived(self._now(), self._epoch))

    def say(self, sentences: Iterable[str]) -> None:
        """These can be spoken."""
        for sentence in sentences:
            self._tell(SentenceReady(self._now(), self._epoch, self._sentences, sentence))
            self._sentences += 1


async def _write(model: LanguageModel, request: GenerationRequest, teller: _Teller) -> None:
    cutter = SentenceCutter()
    async with aclosing(model.stream(request)) as pieces:
        async for piece in pieces:
            teller.begin()
            if isinstance(piece, str):
                teller.say(cutter.feed(piece))
    teller.say(cutter.flush())


def failed(at_ms: int, epoch: Epoch, error: BackendError) -> BackendFailed:
    """A backend's error as a fact."""
    return BackendFailed(at_ms, epoch, error.backend, error.message, error.remedy, error.retryable, error.retry_after_ms)


class Voice:
    """The voice of one reply. Text may come before the stream is open."""

    def __init__(self) -> None:
        self._stream: SynthesisStream | None = None
        self._waiting: list[tuple[int, str]] = []
        self._is_finished = False

    def speak(self, index: int, text: str) -> None:
        """Queue one sentence."""
        if self._stream is None:
            self._waiting.append((index, text))
        else:
            self._stream.speak(index, text)

    def finish(self) -> None:
        """No more sentences."""
        self._is_finished = True
        if self._stream is not None:
            self._stream.finish()

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
        """Deliver audio to the playout, when there is `room`, until the reply is spoken.

        The playout is finished in any case but cancellation: it must have an end.
        """
        epoch, is_cut = playout.epoch, False
        try:
            async with synthesizer.open(request) as stream:
                self._attach(stream)
                is_first = True
                async for audio in stream:
                    if is_first and len(audio.samples):
                        is_first = False
                        tell(FirstAudio(now(), epoch))
                    playout.add(audio)
                    wake()
                    await room()
            if not self._is_finished:
                raise BackendError(Backend.TTS, "The TTS server ended the reply while it was being written.")
        except BackendError as error:
            is_cut = True
            tell(failed(now(), epoch, error))
        finally:
            self._stream = None
        if playout.epoch == epoch:
            playout.finish(is_cut=is_cut)
            wake()

    def _attach(self, stream: SynthesisStream) -> None:
        self._stream = stream
        for index, text in self._waiting:
            stream.speak(index, text)
        if self._is_finished:
            stream.finish()
