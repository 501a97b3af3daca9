"""One reply: the model writes, the voice speaks. Two tasks, both cancelled at once when the reply is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from voicefsm.errors import BackendError, ContextOverflow
from voicefsm.events import BackendFailed, Fact, FirstAudio, GenerationFinished, SentenceReady, TokenArrived
from voicefsm.ports import GenerationRequest, LanguageModel, SynthesisRequest, SynthesisStream, Synthesizer
from voicefsm.runtime.playout import Playout
from voicefsm.runtime.speakable import SentenceCutter
from voicefsm.values import Backend, Epoch


async def write(
    model: LanguageModel,
    request: GenerationRequest,
    epoch: Epoch,
    *,
    now: Callable[[], int],
    tell: Callable[[Fact], None],
    shorten: Callable[[], None],
) -> None:
    """Let the model answer, and cut its answer into sentences. Ends with `GenerationFinished` or `BackendFailed`.

    `shorten` is called when the prompt is too long for the model, so that the next one is not.
    """
    cutter = SentenceCutter()
    spoken, is_first = 0, True
    try:
        async with aclosing(model.stream(request)) as pieces:
            async for piece in pieces:
                if is_first:
                    is_first = False
                    tell(TokenArrived(now(), epoch))
                for sentence in cutter.feed(piece):
                    tell(SentenceReady(now(), epoch, spoken, sentence))
                    spoken += 1
        for sentence in cutter.flush():
            tell(SentenceReady(now(), epoch, spoken, sentence))
            spoken += 1
    except BackendError as error:
        if isinstance(error, ContextOverflow):
            shorten()
        tell(BackendFailed(now(), epoch, error.backend, error.message, error.remedy, error.retryable))
    else:
        tell(GenerationFinished(now(), epoch))


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
            tell(BackendFailed(now(), epoch, error.backend, error.message, error.remedy, error.retryable))
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
