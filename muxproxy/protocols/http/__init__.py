"""HTTP/1.1 (RFC 9110, RFC 9112): one exchange at a time on a connection.

    grammar.py    the RFCs' ABNF as regular expressions, and the limits that have no key
    common.py     what the files here share: a request's note, one backend's settings
    fields.py     fields of a head: parsing, hop-by-hop, body length
    shortcut.py   the short cut through a head, as regular expressions
    scan.py       the same, byte by byte
    chunked.py    where a chunked body ends
    requests.py   client bytes -> request frames
    replies.py    server bytes -> reply frames
    refusal.py    "no", as a reply

Both framers know two ways through a head: a short cut, for what nearly everybody sends, and a thorough one
that knows all the rules, each with its own refusal. A request's `note` is all that
its reply must know.
"""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Backend, Http
from muxproxy.protocols.contract import Frame, Protocol, Reason, Sharing
from muxproxy.protocols.http.common import Settings
from muxproxy.protocols.http.refusal import STATUS, refusal
from muxproxy.protocols.http.replies import ReplyFramer
from muxproxy.protocols.http.requests import RequestFramer

__all__ = ["HttpProtocol", "ReplyFramer", "RequestFramer", "authority"]


def authority(backend: Backend) -> str:
    """The name of its first server as Host would have it; a unix socket has none, nor has who goes to each
    request's own host."""
    if not backend.upstream.servers:
        return "localhost"
    server = backend.upstream.servers[0]
    return "localhost" if server.startswith("unix:") else server.removesuffix(":80")


class HttpProtocol(Protocol):
    """`host`: what an HTTP/1.0 request without Host is sent on with."""

    name = "http"
    sharing = Sharing.EXCLUSIVE
    may_close_unsaid = True  # RFC 9112 section 9.6 says SHOULD of `Connection: close`; uWSGI says nothing

    def __init__(self, options: Http, host: str = "localhost") -> None:
        self.settings = Settings(options, host.encode("ascii"))

    def configure(self, backend: Backend) -> str:
        self.settings.configure(backend.http, authority(backend).encode("ascii"))
        return ""

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
        bits = note if isinstance(note, int) else 0
        return refusal(STATUS.get(reason, 502), text, note=bits, retry_after=retry_after, closing=closing)

    def drain(self) -> None:
        """From now on every reply says `Connection: close`: keep-alive clients leave with their next one."""
        self.settings.draining = True
