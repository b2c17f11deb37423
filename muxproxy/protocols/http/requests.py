"""Client bytes to request frames, strict as RFC 9112 asks of a proxy: what is not plainly right is refused.

Two ways through a head. The short cut (shortcut.py) is for what nearly every client sends; the thorough way
(`parse_request`) knows all the rest and is the truth: where both answer, they agree (a test holds them to
it).

What changes on the way (P6: nothing else does, neither order nor case nor white space):
- Connection, what it names, and the other hop-by-hop fields go (RFC 9110 section 7.6.1); an upgrade keeps its
  two.
- The version becomes ours, HTTP/1.1 (RFC 9112 section 2.3). An HTTP/1.0 request without Host gets the
  configured server's name: it is what the client would have addressed without us, and an empty Host, the
  other thing RFC 9112 section 3.2 would allow, is refused by nginx. Its Expect goes: a 1.0 client must get no
  100 (RFC 9110 10.1.1).
- A target in absolute form becomes origin form with its authority as Host, whatever Host said: RFC 9112
  sections 3.2.1 and 3.2.2 want both of a proxy that speaks to an origin server, and then nobody behind us can
  disagree about which of the two counts.

No Via is added (but in forward/), though RFC 9110 section 7.6.3 asks gateways to: muxproxy stands in for a
connection pool on the same node, and servers that turn off compression or keep-alive at the sight of a Via
would behave differently behind it (P6). Loops are the configuration's affair: a backend names its servers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from muxproxy.protocols import contract
from muxproxy.protocols.contract import BROKEN, EAGER, FIRST, IDEMPOTENT, LAST, PIN, Frame
from muxproxy.protocols.http.chunked import Chunked
from muxproxy.protocols.http.common import (
    CHUNKED,
    HEAD,
    KEEP,
    MEMO_HEAD,
    OLD,
    UPGRADE,
    MalformedError,
    Settings,
)
from muxproxy.protocols.http.fields import (
    HOP_BY_HOP,
    Field,
    body_length,
    connection_options,
    forwarded_once,
    parse_fields,
    rewritten,
    values_of,
    with_host,
)
from muxproxy.protocols.http.grammar import (
    ABSOLUTE,
    AUTHORITY,
    METHOD,
    NOT_IN_TARGET,
    PROTOCOLS,
    REQUEST_LINE,
    STRAY,
)
from muxproxy.protocols.http.refusal import answer
from muxproxy.protocols.http.shortcut import request as short_cut

# RFC 9110 section 9.2.2.
_IDEMPOTENT: Final = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE")
_MARKS: Final = dict.fromkeys(_IDEMPOTENT, FIRST | IDEMPOTENT)
_GET_MARKS: Final = FIRST | IDEMPOTENT

# Names of Upgrade, in lower case, without their version: RFC 7540 section 3.2, and HTTP itself.
_HTTP_2: Final = frozenset((b"h2c", b"h2", b"http"))


class Request:
    """What a head says: `head` as it goes on, the marks and note of its FIRST frame, its body's length."""

    __slots__ = ("head", "length", "marks", "note")

    def __init__(self, head: bytes, marks: int, note: int, length: int) -> None:
        self.head = head
        self.marks = marks
        self.note = note
        self.length = length


def parse_request(head: bytes, settings: Settings) -> Request:
    """The thorough way. `head` ends with its empty line. Raises MalformedError."""
    line, _, block = head[:-4].partition(b"\r\n")
    method, target, minor = _request_line(line, settings)
    fields = parse_fields(block)
    options = connection_options(fields)
    length = body_length(fields, minor) or 0
    marks = _MARKS.get(method, FIRST)
    note = HEAD if method == b"HEAD" else 0
    if minor == 0:
        note |= OLD
    if b"close" not in options and (minor == 1 or b"keep-alive" in options):
        note |= KEEP
    dropped = HOP_BY_HOP | options
    connection = b""

    expect = values_of(fields, b"expect")
    if expect and minor == 0:
        dropped |= {b"expect"}
    elif expect:
        if len(expect) > 1 or expect[0].lower() != b"100-continue":
            # RFC 9110 section 10.1.1
            raise MalformedError("only the expectation 100-continue can be met", 417)
        if length:
            marks |= EAGER
    if _upgrades(fields, options, minor, length):
        marks |= PIN
        note |= UPGRADE
        dropped -= {b"upgrade"}
        connection = b"Connection: Upgrade"
    if method in (b"OPTIONS", b"TRACE"):
        fields = forwarded_once(fields)

    target, host = _route(method, target, values_of(fields, b"host"), minor, settings)
    fields = with_host(fields, host)
    head = rewritten(b"%s %s HTTP/1.1" % (method, target), fields, dropped, connection)
    return Request(head, marks, note, length)


def _request_line(line: bytes, settings: Settings) -> tuple[bytes, bytes, int]:
    """Method, target, minor version. RFC 9112 section 3."""
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        if len(line) > settings.max_target and line.count(b" ") == 2:
            raise MalformedError(f"a request target of more than {settings.max_target} bytes", 414)
        raise MalformedError(_fault_of(line))
    method, target, major, minor = match.groups()
    if major != b"1":  # a newer minor version is read as 1.1: RFC 9110 section 2.5
        raise MalformedError("only HTTP/1.1 and HTTP/1.0 are spoken here", 505)  # RFC 9110 section 15.6.6
    if method == b"CONNECT":
        raise MalformedError("CONNECT is not supported: muxproxy speaks to configured servers only", 501)
    if len(target) > settings.max_target:
        raise MalformedError(f"a request target of more than {settings.max_target} bytes", 414)
    return method, target, min(int(minor), 1)


def _fault_of(line: bytes) -> str:
    if not line:
        return "empty lines before a request"
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if re.fullmatch(METHOD, method) is None or re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version) is None:
        return "the request line is not: method target HTTP/1.1"
    wrong = NOT_IN_TARGET.search(target)
    if wrong is None:
        return "the request target is empty"
    byte = target[wrong.start()]
    if byte == 0x23:
        return "the request target has a fragment, '#': that is not for servers"  # RFC 9112 section 3.2
    return f"byte 0x{byte:02X} in the request target: it goes there as %{byte:02X}"


def _route(
    method: bytes, target: bytes, hosts: list[bytes], minor: int, settings: Settings
) -> tuple[bytes, bytes]:
    """Target and Host as the server gets them. RFC 9112 sections 3.2 and 3.2.1 to 3.2.4."""
    if len(hosts) > 1:
        raise MalformedError("Host is repeated")
    if hosts and AUTHORITY.fullmatch(hosts[0]) is None:
        raise MalformedError("Host is not a host and port")
    if not hosts and minor == 1:
        raise MalformedError("Host is missing")
    host = hosts[0] if hosts else settings.default_host
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, host
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedError("the request target has no form that its method may have")
    scheme, authority, rest = absolute.groups()
    if scheme.lower() != b"http" or not authority or AUTHORITY.fullmatch(authority) is None:
        raise MalformedError(
            "the request target is not http://host/path"
        )  # also with user:password@, RFC 9110 4.2.4
    if not rest and method == b"OPTIONS":
        return b"*", authority  # 3.2.4
    return (rest if rest.startswith(b"/") else b"/" + rest), authority


def _upgrades(fields: list[Field], options: frozenset[bytes], minor: int, length: int) -> bool:
    """Is this an upgrade to pass on? If not it is an ordinary request, as RFC 9110 section 7.8 allows.

    With a body it would have to be sent before both sides are opaque; HTTP/1.0 cannot upgrade; HTTP/2, under
    whatever name and beside whatever else the server could choose, would hide further requests from us, is
    deprecated (h2c, RFC 9113 section 3.1), and some clients ask for it with every request.
    """
    protocols = b",".join(values_of(fields, b"upgrade"))
    return (
        minor == 1
        and length == 0
        and b"upgrade" in options
        and PROTOCOLS.fullmatch(protocols) is not None
        and not any(
            name.partition(b"/")[0].strip(b" \t").lower() in _HTTP_2 for name in protocols.split(b",")
        )
    )


_HEAD: Final = 0
_BODY: Final = 1
_CHUNKS: Final = 2
_STOPPED: Final = 3
_OPAQUE: Final = 4
_DEAD: Final = 5


class RequestFramer(contract.RequestFramer):
    """For one client. Stops after each request until `resume()`."""

    __slots__ = (
        "_at",
        "_chunks",
        "_head",
        "_late",
        "_left",
        "_lined",
        "_rest",
        "_settings",
        "_skipped",
        "_state",
    )

    def __init__(self, settings: Settings) -> None:
        self.held = 0
        self.midway = False
        self.more = 0
        self._settings = settings
        self._state = _HEAD
        self._head: bytearray | None = None  # a head that has come in part
        self._lined = False  # its first line is all there, and right
        # the one empty line that may stand before a request line (RFC 9112 section 2.2)
        self._skipped = False
        self._left = 0  # of a body with a length
        self._chunks: Chunked | None = None  # of one without
        # What came behind the end of a request, or waits for the next turn (P10): from _at on, not copied for
        # each request in it; None: nothing. And what came behind that.
        self._rest: bytes | None = None
        self._at = 0
        self._late: list[bytes] | None = None

    def feed(self, data: bytes) -> Sequence[Frame]:
        if self._state != _HEAD or self.held or self._skipped:
            return self._go_on(data)
        settings = self._settings
        if data == settings.seen and data:
            self._state = _STOPPED
            return settings.seen_frames
        is_new = False  # worth to be remembered
        if settings.request_rest:
            settings.request_rest -= 1
        elif len(data) <= MEMO_HEAD:
            known = settings.memo.get(data)
            if known is not None:
                settings.see(data, known)
                self._state = _STOPPED
                return known
            is_new = True
        end, method, target, length, line, stop, closes = short_cut(data)
        if end < 0 or end > settings.max_head or target - method - 1 > settings.max_target:
            return self._on_head(data)
        marks = _GET_MARKS
        note = KEEP
        if method != 3 or not data.startswith(b"GET"):
            name = data[:method]
            marks = _MARKS.get(name, FIRST)
            if name == b"HEAD":
                note |= HEAD
        if closes:
            note ^= KEEP
        chunk = data
        if stop:
            data = data[:line] + data[stop:]
            end -= stop - line
        if length >= 0 or len(data) != end:
            return self._begin(data, end, marks, note, length if length > 0 else 0)
        self._state = _STOPPED
        frames = (Frame(data, marks | LAST, note),)
        if is_new:
            settings.remember(chunk, frames)
        return frames

    def resume(self) -> None:
        if self._state == _STOPPED:
            self._state = _HEAD
            self._skipped = False

    def opaque(self) -> None:
        if self._state != _DEAD:
            self._state = _OPAQUE

    def _go_on(self, data: bytes) -> Sequence[Frame]:
        """Whatever is not a fresh head in one piece."""
        state = self._state
        if state == _STOPPED:
            if data:
                self._rest = self._rest or b""
                if self._late is None:
                    self._late = []
                self._late.append(data)
                self.held += len(data)
            return ()
        pos = 0
        if self._rest is not None:
            data, pos = self._take_rest(data)
            if state == _HEAD:
                return self._on_next(data, pos)
        if pos == len(data) or state == _DEAD:
            return ()
        if state == _BODY:
            return self._on_body(data[pos:] if pos else data)
        if state == _CHUNKS:
            return self._on_chunks(data, pos)
        if state == _HEAD:
            return self._on_head(data)
        return (Frame(data[pos:] if pos else data, 0),)

    def _take_rest(self, data: bytes) -> tuple[bytes, int]:
        rest, pos, late = self._rest or b"", self._at, self._late
        self._rest, self._at = None, 0
        self.held = self.more = 0
        if not (late or data):
            return rest, pos
        self._late = None
        return b"".join([rest[pos:], *(late or ()), data]), 0

    def _on_next(self, data: bytes, pos: int) -> Sequence[Frame]:
        """A request that was held, and perhaps others behind it: those are not touched."""
        end = data.find(b"\r\n\r\n", pos, pos + self._settings.max_head) + 4
        if end < 4 or self._skipped or end == len(data):
            return self.feed(data[pos:] if pos else data)
        frames = self.feed(data[pos:end])
        if self._state == _STOPPED:
            self._rest, self._at = data, end
            self.held = len(data) - end
            return frames
        if self._state == _CHUNKS:
            return (*frames, *self._on_chunks(data, end))
        if self._state == _BODY:
            stop = end + self._left
            frames = (*frames, *self._on_body(data[end:stop]))
            if stop < len(data):
                self._rest, self._at = data, stop
                self.held = len(data) - stop
        return frames

    # -- the head -------------------------------------------------------------------------------------------

    def _on_head(self, data: bytes) -> Sequence[Frame]:
        """A head that comes in parts, or that the short cut does not know."""
        try:
            pos = self._head_end(data)
            if pos == 0:
                return ()
            if self._head is not None:
                data = bytes(self._head)
                self._head = None
            head = data[:pos]
            request = parse_request(head, self._settings)
            chunk = data
            if request.head != head:
                data = request.head + data[pos:]
                pos = len(request.head)
            frames = self._begin(data, pos, request.marks, request.note, request.length)
        except MalformedError as fault:
            return self._refuse(fault, data)
        if len(head) == len(chunk) and request.length == 0 and not self._settings.request_rest:
            self._settings.remember(chunk, frames)
        return frames

    def _head_end(self, data: bytes) -> int:
        """Where the head that begins with what is kept, and `data`, ends; 0 if it is not all there."""
        if self._head is None and not data.startswith(b"\r"):
            end = data.find(b"\r\n\r\n") + 4
            if end > 3:
                self._check_size(data, end)
                return end
        if not data:
            return 0
        if self._head is None:
            self._head = bytearray()
            self._lined = False
        head = self._head
        searched = len(head)
        head += data
        if not self._skipped and head.startswith(b"\r\n"):
            self._skipped = True
            del head[:2]
            searched = 0
        if head.startswith(b"\r\n"):
            raise MalformedError("empty lines before a request")
        end = head.find(b"\r\n\r\n", max(0, searched - 3)) + 4
        self._check_size(head, end if end > 3 else len(head))
        if end > 3:
            return end
        if not self._lined and (line := head.find(b"\r\n", max(0, searched - 1))) >= 0:
            self._lined = True
            match = REQUEST_LINE.fullmatch(head, 0, line)
            if match is None or match.group(3) != b"1":  # refused as soon as it is all there
                _request_line(bytes(head[:line]), self._settings)
        if STRAY.search(head, max(0, searched - 1)) is not None:
            raise MalformedError(
                "a control character, a bare LF or a bare CR in a head"
            )  # RFC 9112 section 2.2
        self.held = len(head)
        self.midway = bool(head)
        if not head:
            self._head = None
        return 0

    def _check_size(self, head: bytes | bytearray, size: int) -> None:
        limit = self._settings.max_head
        if size > limit:
            if head.find(b"\r\n", 0, limit) < 0:
                raise MalformedError(f"a request target of more than {self._settings.max_target} bytes", 414)
            raise MalformedError(f"a request head of more than {limit} bytes", 431)

    def _refuse(self, fault: MalformedError, head: bytes) -> Sequence[Frame]:
        self._die()
        return (answer(fault, head),)

    def _die(self) -> None:
        self._state = _DEAD
        self._head = self._rest = self._chunks = None
        self._late = None
        self.held = self.more = 0
        self.midway = False

    # -- the body -------------------------------------------------------------------------------------------

    def _begin(self, data: bytes, pos: int, marks: int, note: int, length: int) -> Sequence[Frame]:
        """The FIRST frame: a head as it goes on, and from `pos` what has come behind it."""
        self.held = 0
        self.midway = False
        size = len(data)
        if length == CHUNKED:
            chunks = Chunked(self._settings.max_head)
            end = chunks.scan(data, pos)
            if not chunks.done:
                self._chunks = chunks
                self._state = _CHUNKS
                if chunks.is_over:
                    self._put_off(data, end)
                return (Frame(data if end == size else data[:end], marks, note),)
        else:
            end = pos + length
            if end > size:
                self._left = end - size
                self._state = _BODY
                return (Frame(data, marks, note),)
        return self._end(data, end, marks, note)

    def _on_body(self, data: bytes) -> Sequence[Frame]:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return (Frame(data, 0),)
        return self._end(data, self._left, 0, None)

    def _put_off(self, data: bytes, pos: int) -> None:
        """All from `pos` on, to the next turn."""
        self._rest, self._at = data, pos
        self.more = len(data) - pos

    def _on_chunks(self, data: bytes, pos: int) -> Sequence[Frame]:
        chunks = self._chunks
        assert chunks is not None
        if chunks.kept:
            data, pos = chunks.kept + data[pos:], 0
        try:
            end = chunks.scan(data, pos)
        except MalformedError as fault:
            self._die()
            return (Frame(b"", BROKEN, str(fault)),)  # the head has gone on: too late for an answer
        if chunks.done:
            self._chunks = None
            return self._end(data, end, 0, None, pos)
        if chunks.is_over:
            self._put_off(data, end)
        part = data if end - pos == len(data) else data[pos:end]
        return (Frame(part, 0),) if end > pos else ()

    def _end(self, data: bytes, end: int, marks: int, note: int | None, begin: int = 0) -> Sequence[Frame]:
        self._state = _STOPPED
        if end < len(data):
            self._rest, self._at = data, end
            self.held = len(data) - end
        part = data if end - begin == len(data) else data[begin:end]  # compiled, a slice of all is a copy
        return (Frame(part, marks | LAST, note),)
