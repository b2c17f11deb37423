"""Raw TCP: any protocol that muxproxy does not speak. Sessions, not requests.

    framing.py    bytes -> parts of a session, in both directions

A session has an upstream connection of its own, so connections are bounded and queued for, not shared. No
refusal has words that every client would understand: how its connection ends is all that can be said. (A unix
socket knows no RST: there an end is an end.)
"""

from __future__ import annotations

import re
from typing import Any, Final

from muxproxy.config.model import Backend, Tcp
from muxproxy.protocols.contract import BROKEN, END_CLIENT, FIRST, LAST, Frame, Protocol, Reason, Sharing
from muxproxy.protocols.tcp.framing import ReplyFramer, RequestFramer

__all__ = ["ReplyFramer", "RequestFramer", "TcpProtocol"]


# How sessions begin that may have a reserved place, by the name that the configuration gives them.
# PostgreSQL's CancelRequest: its length, 16 until protocol 3.2 made keys longer, and 1234 * 65536 + 5678.
RESERVED: Final = {"postgres-cancel": re.compile(rb"\x00\x00[\x00-\x01].\x04\xd2\x16\x2e", re.DOTALL)}


class TcpProtocol(Protocol):
    name = "tcp"
    sharing = Sharing.DEDICATED
    half_close = True  # RFC 9293 section 3.6: a FIN closes one direction

    def __init__(self, options: Tcp) -> None:
        self._set_up(options)

    def configure(self, backend: Backend) -> str:
        self._set_up(backend.tcp)
        return ""

    def _set_up(self, options: Tcp) -> None:
        # An RST (RFC 9293 section 3.10.7.4) is an error to every client; FIN alone reads as an empty answer.
        marks = FIRST | LAST | END_CLIENT | (BROKEN if options.refuse == "rst" else 0)
        self._refusal = Frame(b"", marks)
        self._reserve_for = RESERVED[options.reserve_for]

    def is_reserved(self, data: bytes) -> bool:
        return len(data) >= 8 and self._reserve_for.match(data) is not None

    def requests(self) -> RequestFramer:
        return RequestFramer()

    def replies(self) -> ReplyFramer:
        return ReplyFramer()

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
        return self._refusal
