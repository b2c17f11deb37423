"""HTTP/1.1 where each request says where it goes: every session needs the Destination of its last request."""

from __future__ import annotations

from muxproxy.config.destination import Judge
from muxproxy.config.model import Backend
from muxproxy.protocols import contract
from muxproxy.protocols.contract import Frame
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.http.forward.heads import Ways
from muxproxy.protocols.http.forward.replies import ForwardReplies
from muxproxy.protocols.http.forward.requests import NOWHERE, ForwardRequests, Memo


class ForwardSession(contract.Session):
    __slots__ = ("_requests",)

    def __init__(self, requests: ForwardRequests) -> None:
        self._requests = requests
        self.needs = NOWHERE
        self.pin_reason = "upgrade"
        self.patience = 0.0
        self.listening = False

    @property
    def size(self) -> int:
        return 0

    def on_request(self, frame: Frame) -> Frame:
        self.needs = self._requests.destination
        return frame


class ForwardProtocol(HttpProtocol):
    half_close = True  # one direction of a tunnel may end first (RFC 9110 section 9.3.6), of an upgrade too

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.http, "")
        self.ways = Ways(self.settings, Judge(backend), backend.pseudonym.encode("ascii"))
        self._memo = Memo(self.ways)
        self._was_told = _told(backend)

    def configure(self, backend: Backend) -> str:
        """All destinations' pools have this one protocol: each says what the first has said."""
        told = _told(backend)
        if told == self._was_told:
            return ""
        self._was_told = told
        self.settings.configure(backend.http, b"")
        self.ways.configure(Judge(backend), backend.pseudonym.encode("ascii"))
        self._memo.known.clear()
        return ""

    def requests(self) -> ForwardRequests:
        return ForwardRequests(self._memo)

    def replies(self) -> ForwardReplies:
        return ForwardReplies(self.ways)

    def session(self, requests: contract.RequestFramer) -> ForwardSession:
        assert isinstance(requests, ForwardRequests)
        return ForwardSession(requests)


def _told(backend: Backend) -> tuple[object, ...]:
    """All that frames depend on."""
    http, upstream = backend.http, backend.upstream
    where = (upstream.allow, upstream.deny, backend.listeners, http.routes, backend.pseudonym)
    return (http.max_head, http.max_target, *where)
