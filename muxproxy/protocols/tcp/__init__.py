"""Raw TCP: any protocol that muxproxy does not speak. Sessions, not requests.

    framing.py    bytes -> parts of a session, in both directions

A session has an upstream connection of its own, so connections are bounded and queued for, not shared. No
refusal has words that every client would understand: how its connection ends is all that can be said. (A unix
socket knows no RST: there an end is an end.)
"""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Tcp
from muxproxy.protocols.contract import BROKEN, END_CLIENT, FIRST, LAST, Frame, Reason, Sharing
from muxproxy.protocols.tcp.framing import ReplyFramer, RequestFramer

__all__ = ["ReplyFramer", "RequestFramer", "TcpProtocol"]


class TcpProtocol:
    """contract.Protocol."""

    name = "tcp"
    sharing = Sharing.DEDICATED
    half_close = True  # RFC 9293 section 3.6: a FIN closes one direction
    fence = 0
    batch = (0, 0.0)
    subscriber_buffer = 0  # nobody listens

    def __init__(self, options: Tcp) -> None:
        # An RST (RFC 9293 section 3.10.7.4) is an error to every client; FIN alone reads as an empty answer.
        marks = FIRST | LAST | END_CLIENT | (BROKEN if options.refuse == "rst" else 0)
        self._refusal = Frame(b"", marks)

    def requests(self) -> RequestFramer:
        return RequestFramer()

    def replies(self) -> ReplyFramer:
        return ReplyFramer()

    def session(self, requests: object) -> None:
        return None

    def connection(self, replies: object) -> None:
        return None

    def feed(self) -> None:
        return None

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

    def probe(self) -> None:
        return None  # any byte of ours would be part of somebody's session; a connect is the probe

    def retag(self, data: bytes, tag: int) -> bytes:
        return data  # never asked: there are no ids

    def drain(self) -> None:
        """Sessions end by themselves, or at drain_timeout: nothing can be said in between."""
