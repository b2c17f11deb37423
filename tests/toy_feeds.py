"""The toy of a Feed: what many clients listen to, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from muxproxy.protocols.contract import Feed, Frame


class ToyFeed(Feed):
    """Listeners by what they listen to. One `sub X` or `unsub X` for the first and the last of each."""

    @property
    def more(self) -> bool:
        return False  # a turn is enough

    def flush(self) -> bytes:
        return b""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[Any, None]] = {}
        self._asks: dict[Any, str] = {}
        self._replies: list[tuple[Any, bytes]] = []
        self._live: set[str] = set()

    def on_request(self, listener: Any, frame: Frame) -> bytes:
        verb, _, what = next(w for w in frame.note if "listen=" in w).partition("=")
        if verb == "unlisten":
            self._replies.append((listener, b"unlistened\n"))
            return self._forget(listener, what)
        self._asks[listener] = what
        if what in self._live:
            self._acknowledge(what)
            return b""
        return f"sub {what}\n".encode()

    def _acknowledge(self, what: str) -> None:
        for listener in [each for each, wanted in self._asks.items() if wanted == what]:
            del self._asks[listener]
            listener.listen(what, begins=True)
            self._listeners.setdefault(what, {})[listener] = None
            self._replies.append((listener, f"listening {what}\n".encode()))

    def _forget(self, listener: Any, what: str) -> bytes:
        listener.listen(what, begins=False)
        members = self._listeners.get(what, {})
        members.pop(listener, None)
        if members or what not in self._listeners:
            return b""
        del self._listeners[what]
        self._live.discard(what)
        return f"unsub {what}\n".encode()

    def on_push(self, frame: Frame) -> tuple[bytes, Sequence[Any]]:
        verb, what, *_ = frame.note
        if verb == "*sub":
            self._live.add(what)
            self._acknowledge(what)
        return (frame.data, list(self._listeners.get(what, ()))) if verb == "*msg" else (b"", ())

    def take(self) -> Sequence[tuple[Any, bytes]]:
        replies, self._replies = self._replies, []
        return replies

    def cancel(self, listener: Any) -> bytes:
        self._asks.pop(listener, None)
        return b""

    def leave(self, listener: Any) -> bytes:
        self.cancel(listener)
        return b"".join(self._forget(listener, what) for what in sorted(listener.listens_to))

    def probe(self) -> bytes:
        return b"unsub probe\n"

    def restore(self) -> bytes:
        self._live.clear()
        wanted = sorted({*self._listeners, *self._asks.values()})
        return "".join(f"sub {what}\n" for what in wanted).encode()

    def is_empty(self) -> bool:
        return not self._listeners and not self._asks

    def statistics(self) -> dict[str, int]:
        return {"subjects": len(self._listeners), "listeners": sum(map(len, self._listeners.values()))}
