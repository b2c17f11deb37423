"""Of one head: where the request goes, and as what. As in the folder above there is a short cut for what
nearly everybody sends, and a thorough way, which is the truth; requests.py remembers what came of it.

- The target decides where it has an authority (RFC 9112 section 3.2.2: Host is rewritten), else Host. A name
  that is none, another port than 1 to 65535, a user, a percent sign: 400. Who may go where: 403.
- Fields that are a proxy's own affair, Proxy-Authorization among them, end here (RFC 9110 sections 7.6.1 and
  11.7.2): the next server never sees a password that was meant for us.
- Via says that we were here (RFC 9110 section 7.6.3). Under our pseudonym, which is this backend's on this
  machine in all of its workers: a request that says it already has come round, and ends (508, RFC 5842
  section 7.2).
- CONNECT (RFC 9110 section 9.3.6) asks for a tunnel to host:port, and has no content.
"""

from __future__ import annotations

import re
from typing import Final

from muxproxy.config.destination import Destination, Judge, authority
from muxproxy.protocols.contract import FIRST, LAST, PIN, TUNNEL, Reason
from muxproxy.protocols.http.common import HEAD, KEEP, MEMO_ENTRIES, OLD, OPENS, MalformedError, Settings
from muxproxy.protocols.http.fields import body_length, connection_options, parse_fields, values_of
from muxproxy.protocols.http.requests import _MARKS, Request, parse_request
from muxproxy.protocols.http.shortcut import request as short_cut

_CONNECT: Final = re.compile(rb"CONNECT ([!-~]*+) HTTP/1\.([0-9])\r\n")
_SECURE: Final = re.compile(rb"([!-~]++ )[Hh][Tt][Tt][Pp][Ss](://[^ ]*+ HTTP/1\.[0-9]\r\n)")
_HOST: Final = re.compile(rb"\r\n[Hh][Oo][Ss][Tt]:[ \t]*+([^ \t\r]*+)")
_PROXY: Final = re.compile(rb"\r\n[Pp][Rr][Oo][Xx][Yy]-[^\r]*+")
_PLAIN: Final = re.compile(
    rb"([!-~]++) http://([0-9A-Za-z_.\-]++(?::[0-9]{1,5}+)?)(/[!\"$-~]*+)? HTTP/1\.1\r\n"
)
_OWN: Final = re.compile(
    rb"\r\n(?:[Vv][Ii][Aa]:|[Pp][Rr][Oo][Xx][Yy]-)"
)  # what the thorough way must look at
_VIA: Final = re.compile(rb"\r\n[Vv][Ii][Aa]:([^\r]*+)")


COME_ROUND: Final = "the request has come round to where it has been: see its Via"


class Way:
    """Where a request goes: `head` as it goes on. `reason`: it goes nowhere, and `text` says why."""

    __slots__ = ("destination", "head", "length", "marks", "note", "reason", "text")

    def __init__(self, head: bytes, marks: int, note: int, length: int, destination: Destination) -> None:
        self.head = head
        self.marks = marks
        self.note = note
        self.length = length
        self.destination = destination
        self.reason: Reason | None = None
        self.text = ""

    def end(self, reason: Reason, text: str) -> Way:
        self.reason, self.text = reason, text
        return self


class Place:
    """What a Host comes to, and why nobody may go there, which holds as long as the configuration does."""

    __slots__ = ("denied", "destination")

    def __init__(self, destination: Destination, denied: str) -> None:
        self.destination = destination
        self.denied = denied


class Ways:
    """Of one backend, as it is configured now."""

    __slots__ = ("_places", "judge", "pseudonym", "settings", "via", "via_old")

    def __init__(self, settings: Settings, judge: Judge, pseudonym: bytes) -> None:
        self.settings = settings
        self._places: dict[bytes, Place] = {}  # by what Host says, of http
        self.configure(judge, pseudonym)

    def configure(self, judge: Judge, pseudonym: bytes) -> None:
        self._places.clear()
        self.judge = judge
        self.pseudonym = pseudonym
        self.via = b"Via: 1.1 " + pseudonym + b"\r\n"
        self.via_old = b"Via: 1.0 " + pseudonym + b"\r\n"

    def of(self, head: bytes) -> Way:
        """`head` ends with its empty line. Raises MalformedError."""
        return self.plain(head) or self.thorough(head)

    def plain(self, head: bytes) -> Way | None:
        """The short cut, if it knows the way."""
        named = b""
        match = _PLAIN.match(head)
        if match is not None:
            name, named, path = match.groups()
            if path is None and name == b"OPTIONS":
                return None
            head = name + b" " + (path or b"/") + b" HTTP/1.1\r\n" + head[match.end() :]
        end, method, target, length, line, stop, closes = short_cut(head)
        size = target - method - 1 + (len(named) + len(b"http://") if named else 0)
        if end != len(head) or size > self.settings.max_target or _OWN.search(head) is not None:
            return None
        match = _HOST.search(head)
        if match is None:
            return None
        host = match.group(1)
        if not host or (named and host != named):
            return None
        name = head[:method]
        note = KEEP | HEAD if name == b"HEAD" else KEEP
        if closes:
            note ^= KEEP
        if stop:
            head = head[:line] + head[stop:]
        place = self._place(host)
        forwarded = head[:-2] + self.via + b"\r\n"
        way = Way(forwarded, _MARKS.get(name, FIRST), note, length if length > 0 else 0, place.destination)
        return way.end(Reason.DENIED, place.denied) if place.denied else way

    def thorough(self, head: bytes) -> Way:
        match = _CONNECT.match(head)
        if match is not None:
            return self._tunnel(head, match.group(1), int(match.group(2)))
        secure = _SECURE.match(head)
        if secure is not None:
            head = secure.group(1) + b"http" + secure.group(2) + head[secure.end() :]
        request = parse_request(head, self.settings)
        place = self._destination(request.head, secure is not None)
        via = self.via_old if request.note & OLD else self.via
        forwarded = _PROXY.sub(b"", request.head)[:-2] + via + b"\r\n"
        way = Way(forwarded, request.marks, request.note, request.length, place.destination)
        if self._comes_round(way, request):
            return way
        return way.end(Reason.DENIED, place.denied) if place.denied else way

    def _destination(self, head: bytes, secure: bool) -> Place:
        match = _HOST.search(head)
        assert match is not None  # parse_request() has seen to it
        host = match.group(1)
        if not host:
            raise MalformedError("the request names no host")
        return self._judge(host, secure=True) if secure else self._place(host)

    def _place(self, host: bytes) -> Place:
        place = self._places.get(host)
        if place is None:
            place = self._judge(host, secure=False)
            if len(self._places) >= MEMO_ENTRIES:
                self._places.clear()
            self._places[host] = place
        return place

    def _judge(self, host: bytes, *, secure: bool) -> Place:
        try:
            where = self.judge.named(host.decode("ascii"), secure=secure)
        except ValueError as error:  # as is what is not ASCII
            raise MalformedError(f"where the request goes is {error}") from None
        return Place(where, self._denied(where))

    def _denied(self, where: Destination) -> str:
        why = self.judge.refuses(where)
        return f"{where}: {why}" if why else ""

    def _comes_round(self, way: Way, request: Request) -> bool:
        for via in _VIA.findall(request.head):
            if self.pseudonym in via:
                way.end(Reason.LOOP, COME_ROUND)
                return True
        return False

    def _tunnel(self, head: bytes, target: bytes, minor: int) -> Way:
        """RFC 9110 section 9.3.6: its target is host:port, and there is no content; RFC 9112 section 3.2.3.
        What comes behind it is for the other end, once there is one."""
        fields = parse_fields(head[:-4].partition(b"\r\n")[2])
        hosts = values_of(fields, b"host")
        if len(hosts) > 1 or (minor and not hosts):  # RFC 9112 section 3.2
            raise MalformedError("Host is repeated" if hosts else "Host is missing")
        keep = minor > 0 and b"close" not in connection_options(fields)
        if body_length(fields, minor and 1):
            raise MalformedError("CONNECT with content")
        try:
            where = authority(target.decode("ascii"))._replace(tunnel=True)
        except ValueError as error:
            raise MalformedError(f"where the tunnel goes is {error}") from None
        note = OPENS | (KEEP if keep else 0) | (0 if minor else OLD)
        way = Way(b"", FIRST | LAST | PIN | TUNNEL, note, 0, where)
        if self.pseudonym in b"".join(values_of(fields, b"via")):
            return way.end(Reason.LOOP, COME_ROUND)
        denied = self._denied(where)
        return way.end(Reason.DENIED, denied) if denied else way
