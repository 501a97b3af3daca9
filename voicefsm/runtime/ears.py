"""The session's ears: ASR streams, one after the other, so that no word is lost and none comes twice.

Theory of operation
-------------------
What is heard lies in `Unfinalised` until a final covers it. A stream is a `Line` that is fed from there: what it missed faster
than real time, then frame by frame. So it makes no difference why a new stream is needed (the old one died, stalled, went stale
or was too old): it hears the utterance in progress from its beginning, and `Wording` sees to it that nothing is told twice.

    run()         one life: opens a stream, reads it, replaces it when it is old; ends when it fails. The machine decides what then.
    hear()        data plane: keeps a piece, feeds the line
    finalize()    asks for a final; if none comes in `commit_ms`, the last partial is taken for it (a recogniser that never
                  finalises), and whatever comes later of the same words is left out

A stream is *stale* when the detector has heard speech for `ears_stale_ms` and the stream not a word: servers were seen that take
audio, even answer, and hear nothing any more. Each time in a row it takes twice as long: noise is no reason to change streams.

A stream older than `ears_rotate_s` is replaced while it works: the next one is open before the old one is told that no more audio
comes, and the seam lies between two utterances, if there is such a place within `ears_rotate_wait_ms`. Either way every sample
counts for one stream only: what the old one says about audio that the new one hears again is dropped.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine

from voicefsm.audio.samples import SAMPLES_PER_MS, Samples
from voicefsm.errors import BackendError, Stalled
from voicefsm.events import Fact, FinalHeard, PartialHeard, RecognitionFailed, RecognitionOpened
from voicefsm.ports import Hypothesis, RecognitionRequest, RecognitionStream, Recognizer
from voicefsm.runtime.line import Line
from voicefsm.runtime.plan import SessionSettings
from voicefsm.runtime.unfinalised import Piece, Unfinalised
from voicefsm.runtime.wording import Wording
from voicefsm.values import Backend

HURRY_MS_MAX = 3000
"""After speech, frames are sent one by one for the final, but not for ever."""
BETWEEN_MS_MIN = 500
"""Quiet for this long lies between utterances."""
LOOK_MS = 100
"""How often a rotation looks whether the user is between utterances."""
AGE_STEP_MS = 1000
"""How often the age of a stream is looked at."""
RETIRED_MS_MAX = 3000
"""How long a stream may take for its last words after it was told that no more audio comes."""
SILENCE_SAMPLES = 80 * SAMPLES_PER_MS
"""What a muted client's stream is kept alive with: a chunk of the quickest servers."""
STALE_DOUBLINGS_MAX = 4
COMMITTED_WORDS_MAX = 100
"""A stream that has gone on with so many words without a final is replaced like an old one."""


class Ears:
    """Feeds the recogniser and turns what it hears into facts."""

    def __init__(
        self,
        recognizer: Recognizer,
        request: RecognitionRequest,
        *,
        settings: SessionSettings,
        commit_ms: int,
        now: Callable[[], int],
        tell: Callable[[Fact], None],
        traceparent: Callable[[], str] = lambda: "",
    ) -> None:
        """`commit_ms`: how long a final may be out before the last partial is taken for it. `traceparent`: of the next stream."""
        self._recognizer, self._request, self._settings = recognizer, request, settings
        self._commit_ms = commit_ms
        self._now, self._tell, self._traceparent = now, tell, traceparent
        self._call: _Call | None = None
        """The stream that is listened to."""
        self._media = 0
        """Media time: samples since the session's first, heard or skipped."""
        self._unfinalised = Unfinalised(ms_max=settings.ears_backlog_ms_max, quiet_ms_max=settings.ears_quiet_ms)
        self._wording = Wording()
        self._told_until = 0
        """Media time up to which the words that were told may reach."""
        self._is_whole = True
        """Nothing of the utterance in progress fell out of the backlog."""
        self._wants_final = False
        self._commit: asyncio.TimerHandle | None = None
        self._keep_alive: asyncio.TimerHandle | None = None
        self._fed_at_ms = 0
        """When the stream was last sent something, on the session's clock."""
        self._voiced_at = -HURRY_MS_MAX * SAMPLES_PER_MS
        """Media time at which the detector last heard speech."""
        self._wordless = 0
        """Samples of speech since the recogniser last had words."""
        self._stale_in_a_row = 0
        self.lost_samples = 0
        """Audio that fell out of the backlog and was never sent, because the recogniser was away for too long."""
        self.rotations = 0
        """How often a stream that worked was replaced by the next one."""

    @property
    def backlog_ms(self) -> int:
        """How much audio waits for a stream."""
        fed = self._call.line.fed if self._call is not None and self._call.line is not None else 0
        start = self._unfinalised.start
        return 0 if start is None else max(0, self._media - max(start, fed)) // SAMPLES_PER_MS

    # --- the data plane ------------------------------------------------------------------------------------------------------

    def hear(self, samples: Samples, *, is_voiced: bool = False, is_urgent: bool = False) -> None:
        """Give the recogniser audio, 16 kHz; keep it until it is final.

        `is_voiced`: the detector hears speech in it. `is_urgent`: somebody speaks over a reply, words are wanted at once.
        """
        if not len(samples):
            return
        piece = Piece(self._media, samples.tobytes(), is_voiced)
        self._media = piece.end
        line = self._live_line()
        self._keep(piece, is_quiet=line is not None and not self._wording.is_open)
        if is_voiced:
            self._voiced_at = piece.end
        if line is not None:
            is_quiet = not (is_voiced or is_urgent or self._unfinalised.has_speech)
            line.send(piece, at_once=is_urgent or self._hurries(is_voiced=is_voiced), is_quiet=is_quiet)
            self._fed_at_ms = self._now()
            self._look_for_staleness(len(samples) if is_voiced else 0)

    def skip(self, ms: int) -> None:
        """Media time passed of which there is no audio."""
        self._media += ms * SAMPLES_PER_MS

    def finalize(self) -> None:
        """Ask for a final, now or as soon as a stream has heard all there is."""
        self._wants_final = True
        self._arm_commit()
        if (line := self._live_line()) is not None:
            line.stream.finalize()

    def _live_line(self) -> Line | None:
        line = self._call.line if self._call is not None else None
        return line if line is not None and line.is_live else None

    def _keep(self, piece: Piece, *, is_quiet: bool) -> None:
        dropped = self._unfinalised.add(piece, is_quiet=is_quiet)
        if not dropped:
            return
        fed = self._call.line.fed if self._call is not None and self._call.line is not None else 0
        for gone in dropped:
            self.lost_samples += max(0, gone.end - max(gone.start, fed))
            self._is_whole = self._is_whole and not self._wording.is_open

    def _hurries(self, *, is_voiced: bool) -> bool:
        """Is this the silence after speech, in which the recogniser makes up its mind? A first pass says that it has."""
        is_recent = self._media - self._voiced_at <= HURRY_MS_MAX * SAMPLES_PER_MS
        return is_recent and not is_voiced and self._unfinalised.has_speech and not self._wording.is_stable

    def _look_for_staleness(self, voiced_samples: int) -> None:
        self._wordless += voiced_samples
        limit_ms = self._settings.ears_stale_ms << self._stale_in_a_row
        if self._wordless >= limit_ms * SAMPLES_PER_MS and self._call is not None:
            self._stale_in_a_row = min(self._stale_in_a_row + 1, STALE_DOUBLINGS_MAX)
            self._wordless = 0
            message = f"The recogniser heard no word in {limit_ms} ms of speech."
            self._call.fail(Stalled(Backend.ASR, message, remedy="Look into the log of the ASR server."))

    def close(self) -> None:
        """The session is over. Harmless twice."""
        self._disarm_commit()
        self._disarm_keep_alive()

    # --- one life ------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """One life, from opening a stream to its end; the machine decides whether there is another."""
        try:
            error = await self._live()
        except asyncio.CancelledError as cancelled:
            raise cancelled.with_traceback(None)  # noqa: B904 (the same one, without the frames that keep it: see groups.py)
        finally:
            self._call = None
            self._disarm_keep_alive()
        self._lose()
        if error is None:
            self._tell(RecognitionFailed(self._now(), "The ASR server closed the stream.", retryable=True))
        else:
            self._tell(RecognitionFailed(self._now(), str(error), error.retryable))

    async def _live(self) -> BackendError | None:
        """Hold a stream, and replace it when it is old. Returns how the last one failed."""
        async with asyncio.TaskGroup() as group:
            tasks = _Tasks(group)
            call = _Call()
            serving = tasks.start(self._serve(call, tasks))
            while not await self._is_over(serving, self._settings.ears_rotate_s * 1000):
                next_call = await self._succeed(serving, tasks)
                if next_call is not None:
                    call, serving = next_call
            tasks.end_all()
        return call.error

    async def _serve(self, call: _Call, tasks: _Tasks, *, is_standby: bool = False) -> None:
        """Open a stream and listen to it; one on standby is fed nothing yet."""
        try:
            request = dataclasses.replace(self._request, traceparent=self._traceparent())
            async with self._recognizer.open(request) as stream:
                call.open(stream)
                if not is_standby:
                    self._take(call, tasks)
                    self._tell(RecognitionOpened(self._now()))
                async for hypothesis in stream:
                    self._hear_back(call, hypothesis)
        except BackendError as error:
            call.error = error
        finally:
            call.close()

    def _take(self, call: _Call, tasks: _Tasks) -> None:
        """Listen to this stream from here on. It hears all that is not final, and then what comes."""
        kept_from = self._unfinalised.start
        is_gone = kept_from is None or kept_from >= self._told_until
        self._wording.hear_again(has_committed=not is_gone)
        line = Line(call.stream, self._media if kept_from is None else kept_from)
        line.catches_up_at = self._told_until
        self._begin(call, line)
        tasks.start(self._feed(line))

    def _begin(self, call: _Call, line: Line) -> None:
        call.line, self._call = line, call
        self._fed_at_ms = self._now()
        self._wordless = 0
        self._arm_keep_alive(self._settings.ears_idle_ms_max)

    async def _feed(self, line: Line) -> None:
        """Let a line catch up. What was asked for meanwhile is asked for then."""
        await line.catch_up(self._unfinalised)
        self._ask_for_final(line, -1)

    def _ask_for_final(self, line: Line, before: int) -> None:
        """Not in the middle of a word; a microphone that has not gone on since `before`, media time, is muted."""
        if not self._wants_final or self._live_line() is not line:
            return
        if self._voiced_at == self._media != before:
            asyncio.get_running_loop().call_later(LOOK_MS / 1000, self._ask_for_final, line, self._media)
        else:
            line.stream.finalize()

    def _lose(self) -> None:
        """No stream listens. What the recogniser called complete, or can never be heard again, is taken as it was told."""
        if self._wording.is_open and (self._wording.is_stable or not self._is_whole):
            self._take_partial_for_final()

    # --- what it hears -------------------------------------------------------------------------------------------------------

    def _hear_back(self, call: _Call, hypothesis: Hypothesis) -> None:
        """The recogniser has said something."""
        line = call.line
        if line is None:
            return
        if call is not self._call:
            self._hear_last_words(line, hypothesis)
            return
        if hypothesis.text:
            self._wordless = self._stale_in_a_row = 0
        if hypothesis.audio_ms and line.clock.media(hypothesis.audio_ms * SAMPLES_PER_MS) >= line.catches_up_at:
            self._wording.catch_up()
        if hypothesis.is_final:
            self._hear_final(line, hypothesis)
        else:
            self._hear_partial(line, hypothesis)

    def _hear_last_words(self, line: Line, hypothesis: Hypothesis) -> None:
        """A stream that was replaced between utterances flushes what it has: no other has to hear it again."""
        if hypothesis.is_final and hypothesis.text and not line.is_live:
            self._forget(line, hypothesis)
            self._tell(FinalHeard(self._now(), hypothesis.text, line.placed(hypothesis.words)))

    def _hear_partial(self, line: Line, hypothesis: Hypothesis) -> None:
        text = self._wording.hear_partial(hypothesis.text, is_stable=hypothesis.stability >= 1.0)
        if text is None:
            return
        self._told_until = line.fed
        self._tell(PartialHeard(self._now(), text, hypothesis.stability))

    def _hear_final(self, line: Line, hypothesis: Hypothesis) -> None:
        words = line.placed(hypothesis.words)
        told = self._wording.hear_final(hypothesis.text, words)
        self._forget(line, hypothesis)
        self._is_whole = True
        self._wants_final = False
        self._disarm_commit()
        if told is not None:
            self._tell(FinalHeard(self._now(), *told))

    def _forget(self, line: Line, final: Hypothesis) -> None:
        """What a final tells has not to be heard again."""
        processed = line.clock.media(final.audio_ms * SAMPLES_PER_MS) if final.audio_ms else line.fed
        if final.words:
            said = line.clock.media(max(word.end_ms for word in final.words) * SAMPLES_PER_MS)
            self._unfinalised.forget_utterance(said, max(said, processed))
        else:
            self._unfinalised.forget(processed)

    # --- a recogniser that never finalises -----------------------------------------------------------------------------------

    def _arm_commit(self) -> None:
        if self._commit is None:
            self._commit = asyncio.get_running_loop().call_later(self._commit_ms / 1000, self._commit_now)

    def _disarm_commit(self) -> None:
        if self._commit is not None:
            self._commit.cancel()
            self._commit = None

    def _commit_now(self) -> None:
        """The final is out for too long."""
        self._commit, self._wants_final = None, False
        if self._wording.is_open:
            self._take_partial_for_final()

    def _take_partial_for_final(self) -> None:
        self._disarm_commit()
        self._wants_final = False
        self._tell(FinalHeard(self._now(), self._wording.commit()))

    # --- a client that is muted ----------------------------------------------------------------------------------------------

    def _arm_keep_alive(self, wait_ms: int) -> None:
        self._disarm_keep_alive()
        self._keep_alive = asyncio.get_running_loop().call_later(wait_ms / 1000, self._keep_stream_alive)

    def _disarm_keep_alive(self) -> None:
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            self._keep_alive = None

    def _keep_stream_alive(self) -> None:
        """Servers give up a stream without audio: it gets a little silence, once the client has sent nothing for too long."""
        idle_ms_max = self._settings.ears_idle_ms_max
        if self._now() - self._fed_at_ms >= idle_ms_max and (line := self._live_line()) is not None:
            line.send_silence(SILENCE_SAMPLES)
            self._fed_at_ms = self._now()
        self._arm_keep_alive(max(1, idle_ms_max - (self._now() - self._fed_at_ms)))

    # --- rotation ------------------------------------------------------------------------------------------------------------

    async def _is_over(self, serving: asyncio.Task[None], limit_ms: int) -> bool:
        """Wait for the end of a stream; False when it lives to be this old, or never finishes a sentence."""
        waited_ms = 0
        while not limit_ms or waited_ms < limit_ms:
            step_ms = min(limit_ms - waited_ms, AGE_STEP_MS) if limit_ms else AGE_STEP_MS
            await asyncio.wait([serving], timeout=step_ms / 1000)
            if serving.done():
                return True
            if self._wording.committed_words > COMMITTED_WORDS_MAX:
                return False
            waited_ms += step_ms
        return False

    async def _succeed(self, serving: asyncio.Task[None], tasks: _Tasks) -> tuple[_Call, asyncio.Task[None]] | None:
        """Replace a stream that works. None when it ended meanwhile, or when the next one cannot be had: then it goes on."""
        deadline_ms = self._now() + self._settings.ears_rotate_wait_ms
        while not self._is_between_utterances() and self._now() < deadline_ms and not serving.done():
            await asyncio.wait([serving], timeout=LOOK_MS / 1000)
        call = _Call()
        standing_by = tasks.start(self._serve(call, tasks, is_standby=True))
        await asyncio.wait([serving, standing_by, call.opened], return_when=asyncio.FIRST_COMPLETED)
        if serving.done() or not call.opened.done():
            standing_by.cancel()
            return None
        self._switch(call, serving, tasks)
        return call, standing_by

    def _is_between_utterances(self) -> bool:
        is_quiet = self._media - self._voiced_at >= BETWEEN_MS_MIN * SAMPLES_PER_MS
        is_told = not self._wording.is_open and not self._wants_final
        return is_quiet and is_told and self._live_line() is not None

    def _switch(self, call: _Call, serving: asyncio.Task[None], tasks: _Tasks) -> None:
        """From here on the new stream hears, and the old one counts for what was before."""
        old = self._call
        is_clean = self._is_between_utterances() and not self._wording.committed_words
        self.rotations += 1
        if is_clean and old is not None and old.line is not None:
            self._wording.begin()
            line = Line(call.stream, self._media)
            line.is_live = True
            self._begin(call, line)
            old.line.is_live = False
            old.stream.finish()
            tasks.end_later(serving, RETIRED_MS_MAX)
        else:
            self._take(call, tasks)
            serving.cancel()


class _Tasks:
    """The tasks of one life, in a group that waits for them."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Begin."""
        task = self._group.create_task(work, name="ears")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def end_later(self, task: asyncio.Task[None], wait_ms: int) -> None:
        """Cancel, unless it is over by itself before."""
        timer = asyncio.get_running_loop().call_later(wait_ms / 1000, task.cancel)
        task.add_done_callback(lambda _: timer.cancel())

    def end_all(self) -> None:
        """Cancel what still runs."""
        for task in tuple(self._running):
            task.cancel()


class _Call:
    """A stream that is being opened, or open."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.line: Line | None = None
        self.error: BackendError | None = None
        """How it failed, or why we gave it up."""
        self._serving: asyncio.Task[None] | None = None

    def open(self, stream: RecognitionStream) -> None:
        """The server has accepted; the task that reads from it is the one that runs now."""
        self.stream = stream
        self._serving = asyncio.current_task()
        self.opened.set_result(None)

    def close(self) -> None:
        """Nobody reads any more."""
        self._serving = None

    def fail(self, error: BackendError) -> None:
        """Give it up."""
        if self.error is None and self._serving is not None:
            self.error = error
            self._serving.cancel()
