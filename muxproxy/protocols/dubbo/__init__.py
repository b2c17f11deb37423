"""Dubbo2: many calls in flight on a connection, matched by id; ids are ours towards providers.

    common.py     the 16-byte header, serializations, a note, one backend's settings and counters
    framing.py    where messages begin and end, either way
    requests.py   client bytes -> calls, and heartbeats answered here
    replies.py    provider bytes -> replies, and what providers say by themselves
    names.py      which service and method a call is for: only for limits
    refusal.py    "no", as a response with a status and a message

Nothing else of a body is ever looked at: it passes as it is, in any serialization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from muxproxy.config.model import Backend, Dubbo
from muxproxy.config.model import Limit as Configured
from muxproxy.native import i64
from muxproxy.protocols.contract import (
    FIRST,
    LAST,
    NO_LIMIT,
    Frame,
    Limit,
    Reason,
    Sharing,
    TaggedProtocol,
)
from muxproxy.protocols.dubbo.common import (
    HEADER_SIZE,
    HEARTBEAT,
    KEEP,
    LIMIT_SHIFT,
    NAMES,
    READONLY,
    Settings,
    beginning,
    last,
    seven,
)
from muxproxy.protocols.dubbo.refusal import refusal
from muxproxy.protocols.dubbo.replies import ReplyFramer
from muxproxy.protocols.dubbo.requests import RequestFramer

# A call up to this is sent when it is whole. The parts of a larger one stand together on a connection that it
# gets alone while they come in (P5), which costs others that connection for so long: too much for what is
# not rare.
WHOLE: Final = 1024 * 1024  # bytes
# Of a message as long as this the body is not copied before it is joined with others.
VIEWED: Final = 4096  # bytes

__all__ = ["DubboProtocol", "ReplyFramer", "RequestFramer"]


def _limit(service: str, method: str, limit: Configured | None) -> Limit:
    """None: there was one."""
    name = f"{service}.{method or '*'}"
    return Limit(name, NO_LIMIT, 1.0) if limit is None else Limit(name, limit.actives, limit.timeout)


class DubboProtocol(TaggedProtocol):
    name = "dubbo"
    sharing = Sharing.TAGGED
    probe_keep = KEEP
    probe_key = "[dubbo] heartbeat"

    def __init__(self, options: Dubbo) -> None:
        self.settings = Settings(options)
        self.counters = self.settings.counters
        self._set_up(options)

    def configure(self, backend: Backend) -> str:
        self.settings.configure(backend.dubbo)
        self._set_up(backend.dubbo)
        return ""

    def _set_up(self, options: Dubbo) -> None:
        self.probe_interval = options.heartbeat
        self.probe_misses = options.heartbeat_misses
        self.stop_timeout = options.readonly_timeout
        self.request_buffer = min(WHOLE, options.max_frame) + HEADER_SIZE
        limits = {(limit.service, limit.method): limit for limit in options.limits}
        self.limits: Sequence[Limit] = tuple(
            _limit(*names, limits.get(names)) for names in self.settings.numbers
        )

    def requests(self) -> RequestFramer:
        return RequestFramer(self.settings)

    def replies(self) -> ReplyFramer:
        return ReplyFramer(self.settings)

    def refusal(
        self,
        reason: Reason,
        text: str,
        *,
        note: Any = None,
        tag: int = 0,
        retry_after: int = 0,
        closing: bool = True,
        weight: int = 1,
    ) -> Frame:
        if note is None:  # there was no call, so there is no id; Dubbo's `accepts` closes without a word, too
            return Frame(b"", FIRST | LAST)
        return refusal(reason, text, note, tag)

    def remarks(self) -> Sequence[str]:
        return [
            f"[[dubbo.limits]] do not apply to calls in {NAMES.get(number, 'serialization')} ({number}): "
            f"their service and method are not read; {calls:,} came"
            for number, calls in self.settings.unread.items()
        ]

    def limit_of(self, note: Any) -> int:
        return int(note >> LIMIT_SHIFT) - 1

    def probe(self) -> bytes:
        return HEARTBEAT

    def goodbye(self) -> bytes:
        return READONLY

    def retag(self, data: bytes, tag: int) -> bytes:
        if len(data) < VIEWED:
            return b"%b%b%b%b" % (beginning(data, 0), seven(tag), last(tag), data[12:])
        return b"".join((data[:4], tag.to_bytes(8, "big"), memoryview(data)[12:]))

    def retag_into(self, parts: list[bytes | memoryview], data: bytes, tag: int) -> None:
        parts.append(beginning(data, 0))
        parts.append(seven(tag))
        parts.append(last(tag))
        if len(data) < VIEWED:
            parts.append(data[12:])
        else:
            parts.append(memoryview(data)[12:])

    def retag_span(self, data: bytes, at: i64, end: i64, tag: int) -> bytes:
        if end - at < VIEWED:
            return b"%b%b%b%b" % (beginning(data, at), seven(tag), last(tag), data[at + 12 : end])
        return self.retag(data[at:end], tag)

    def retag_span_into(
        self, parts: list[bytes | memoryview], data: bytes, at: i64, end: i64, tag: int
    ) -> None:
        if end - at < VIEWED:
            parts.append(beginning(data, at))
            parts.append(seven(tag))
            parts.append(last(tag))
            parts.append(data[at + 12 : end])
        else:  # a view of all of `data` would keep that for as long as a slow client has not taken this
            self.retag_into(parts, data[at:end], tag)
