"""The supervisor's end of one control channel; `worker/control.py` is the other.

All writing is done by one task from a bounded outbox (outbox.py): a worker that hangs fills its outbox and is
then said nothing more, but nobody in the supervisor waits for it, and no message is ever cut in the middle by
a cancellation.
"""

from __future__ import annotations

from typing import Any

import trio

from muxproxy.messages import Ask, Message, MessageReader, Stats
from muxproxy.supervisor.outbox import Outbox

_CHUNK = 65536


class _Question:
    def __init__(self) -> None:
        self.asking = 0  # who waits for the answer
        self.answered = trio.Event()
        self.answer: dict[str, Any] | None = None


class Channel:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._reader = MessageReader()
        self._outbox = Outbox()
        self._filled = trio.Event()
        self._serial = 0
        self._unsaid = 0  # serial of a question in the outbox
        self._asked: dict[int, _Question] = {}

    def say(self, message: Message) -> bool:
        """False if the worker does not listen any more."""
        if not self._outbox.put(message):
            return False
        self._filled.set()
        return True

    async def ask(self) -> dict[str, Any] | None:
        """The worker's snapshot, however long that takes; None if it does not listen any more.

        Who asks before the last question has gone out shares that one: scrapes of a worker that is busy do
        not fill its outbox, and it need not answer them all when it listens again."""
        if not self._unsaid:
            self._serial += 1
            if not self.say(Ask(self._serial)):
                return None
            self._unsaid = self._serial
        serial = self._unsaid
        question = self._asked.setdefault(serial, _Question())
        question.asking += 1
        try:
            await question.answered.wait()
            return question.answer
        finally:
            question.asking -= 1
            if not question.asking:
                self._asked.pop(serial, None)

    def on_stats(self, message: Stats) -> None:
        question = self._asked.pop(message.serial, None)
        if question is not None:
            question.answer = message.snapshot
            question.answered.set()

    async def write(self) -> None:
        """Runs as long as the worker: what `say` was given goes out."""
        try:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                self._unsaid = 0
                await self._stream.send_all(self._outbox.take_bytes())
        except trio.BrokenResourceError:
            pass  # it has gone; whoever waits for its exit sees to it

    async def receive(self) -> list[Message]:
        """The next messages; none once the channel has ended. Raises ValueError for what is not a message."""
        while True:
            try:
                data = await self._stream.receive_some(_CHUNK)
            except trio.BrokenResourceError:
                return []
            messages = self._reader.feed(bytes(data))
            if messages or not data:
                return messages

    async def aclose(self) -> None:
        await self._stream.aclose()
