"""What is to be said to another process and has not gone out yet (channel.py). Pure.

Words of the budget (budget.py) say a state, and the newest counts: it takes the place of the one about the
same holder's same number, as if that had been lost on the way, which does no harm. So there are never more of
them than there are numbers, however often the ledger changes its mind before the task that writes has its
turn. All else is rare, and counted: who has not taken MOST of it does not listen.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from muxproxy.messages import Holds, Lend, Message, encode

MOST: Final = 16  # messages; in a healthy worker's outbox there are two at most


class Outbox:
    def __init__(self) -> None:
        self._messages: dict[Hashable, Message] = {}  # in the order in which they are to go out
        self._serial = 0
        self._counted = 0  # of these

    def put(self, message: Message) -> bool:
        """False: there is no room."""
        if isinstance(message, Lend | Holds):
            about = (type(message), message.holder, message.number)
            # To the end: it may speak of what a reload before it has changed.
            self._messages.pop(about, None)
            self._messages[about] = message
            return True
        if self._counted >= MOST:
            return False
        self._counted += 1
        self._serial += 1
        self._messages[self._serial] = message
        return True

    def __len__(self) -> int:
        return len(self._messages)

    def take(self) -> list[Message]:
        """All of it; it goes out now."""
        messages = list(self._messages.values())
        self._messages.clear()
        self._counted = 0
        return messages

    def take_bytes(self) -> bytes:
        return b"".join(encode(message) for message in self.take())
