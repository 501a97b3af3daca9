"""The ASR stream of a session, held open, with a backlog for the time in which it is not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from voicefsm.audio.samples import SAMPLES_PER_MS, Samples
from voicefsm.errors import BackendError
from voicefsm.events import Fact, FinalHeard, PartialHeard, RecognitionFailed, RecognitionOpened, Word
from voicefsm.ports import RecognitionRequest, RecognitionStream, Recognizer


class Ears:
    """Feeds the recogniser and turns what it hears into facts."""

    def __init__(
        self,
        recognizer: Recognizer,
        request: RecognitionRequest,
        *,
        backlog_ms_max: int,
        now: Callable[[], int],
        tell: Callable[[Fact], None],
    ) -> None:
        self._recognizer, self._request = recognizer, request
        self._now, self._tell = now, tell
        self._stream: RecognitionStream | None = None
        self._heard_samples = 0
        """Media time: all that was heard, sent or not."""
        self._stream_starts_ms = 0
        """Media time of the first sample of the stream."""
        self._backlog: deque[Samples] = deque()
        self._backlog_left = self._backlog_max = backlog_ms_max * SAMPLES_PER_MS
        self.lost_samples = 0
        """Audio that fell out of the backlog because the recogniser was away for too long."""

    @property
    def backlog_ms(self) -> int:
        """How much audio waits for a stream."""
        return (self._backlog_max - self._backlog_left) // SAMPLES_PER_MS

    def hear(self, samples: Samples) -> None:
        """Give the recogniser audio, 16 kHz; keep it if the stream is not open."""
        self._heard_samples += len(samples)
        if self._stream is not None:
            self._stream.send(samples.tobytes())
            return
        self._backlog.append(samples)
        self._backlog_left -= len(samples)
        while self._backlog_left < 0:
            lost = self._backlog.popleft()
            self._backlog_left += len(lost)
            self.lost_samples += len(lost)

    def skip(self, ms: int) -> None:
        """Media time passed of which there is no audio."""
        self._heard_samples += ms * SAMPLES_PER_MS
        self._stream_starts_ms += ms

    def finalize(self) -> None:
        """Ask for a final; nothing to ask while the stream is not open."""
        if self._stream is not None:
            self._stream.finalize()

    async def run(self) -> None:
        """One life of the stream, from opening to its end; the machine decides whether there is another."""
        try:
            async with self._recognizer.open(self._request) as stream:
                self._attach(stream)
                async for hypothesis in stream:
                    now_ms = self._now()
                    if hypothesis.is_final:
                        self._tell(FinalHeard(now_ms, hypothesis.text, self._placed(hypothesis.words)))
                    else:
                        self._tell(PartialHeard(now_ms, hypothesis.text, hypothesis.stability))
        except BackendError as error:
            self._tell(RecognitionFailed(self._now(), str(error), error.retryable))
        else:
            self._tell(RecognitionFailed(self._now(), "The ASR server closed the stream.", retryable=True))
        finally:
            self._stream = None

    def _attach(self, stream: RecognitionStream) -> None:
        """The stream is open: tell, and catch up."""
        self._stream = stream
        self._stream_starts_ms = (self._heard_samples - sum(map(len, self._backlog))) // SAMPLES_PER_MS
        for samples in self._backlog:
            stream.send(samples.tobytes())
        self._backlog.clear()
        self._backlog_left = self._backlog_max
        self._tell(RecognitionOpened(self._now()))

    def _placed(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """Words with times since the session's first sample rather than the stream's."""
        offset = self._stream_starts_ms
        return tuple(Word(word.text, word.start_ms + offset, word.end_ms + offset) for word in words)
