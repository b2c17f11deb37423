"""Of one head: where the request goes, and as what. The thorough way; requests.py remembers what came of it.

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
from muxproxy.protocols.http.common import KEEP, OLD, OPENS, MalformedError, Settings
from muxproxy.protocols.http.fields import body_length, connection_options, parse_fields, values_of
from muxproxy.protocols.http.requests import Request, parse_request

_CONNECT: Final = re.compile(rb"CONNECT ([!-~]*+) HTTP/1\.([0-9])\r\n")
_SECURE: Final = re.compile(rb"([!-~]++ )[Hh][Tt][Tt][Pp][Ss](://[^ ]*+ HTTP/1\.[0-9]\r\n)")
_HOST: Final = re.compile(rb"\r\n[Hh][Oo][Ss][Tt]:[ \t]*+([^ \t\r]*+)")
_PROXY: Final = re.compile(rb"\r\n[Pp][Rr][Oo][Xx][Yy]-[^\r]*+")
_VIA: Final = re.compile(rb"\r\n[Vv][Ii][Aa]:([^\r]*+)")


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


class Ways:
    """Of one backend, as it is configured now."""

    __slots__ = ("judge", "pseudonym", "settings", "via", "via_old")

    def __init__(self, settings: Settings, judge: Judge, pseudonym: bytes) -> None:
        self.settings = settings
        self.configure(judge, pseudonym)

    def configure(self, judge: Judge, pseudonym: bytes) -> None:
        self.judge = judge
        self.pseudonym = pseudonym
        self.via = b"Via: 1.1 " + pseudonym + b"\r\n"
        self.via_old = b"Via: 1.0 " + pseudonym + b"\r\n"

    def of(self, head: bytes) -> Way:
        """`head` ends with its empty line. Raises MalformedError."""
        match = _CONNECT.match(head)
        if match is not None:
            return self._judged(self._tunnel(head, match.group(1), int(match.group(2))))
        secure = _SECURE.match(head)
        if secure is not None:
            head = secure.group(1) + b"http" + secure.group(2) + head[secure.end() :]
        request = parse_request(head, self.settings)
        where = self._destination(request.head, secure is not None)
        via = self.via_old if request.note & OLD else self.via
        forwarded = _PROXY.sub(b"", request.head)[:-2] + via + b"\r\n"
        way = Way(forwarded, request.marks, request.note, request.length, where)
        return self._comes_round(way, request) or self._judged(way)

    def _destination(self, head: bytes, secure: bool) -> Destination:
        match = _HOST.search(head)
        assert match is not None  # parse_request() has seen to it
        host = match.group(1)
        if not host:
            raise MalformedError("the request names no host")
        try:
            return self.judge.named(host.decode("ascii"), secure=secure)
        except ValueError as error:  # as is what is not ASCII
            raise MalformedError(f"where the request goes is {error}") from None

    def _comes_round(self, way: Way, request: Request) -> Way | None:
        for via in _VIA.findall(request.head):
            if self.pseudonym in via:
                return way.end(Reason.LOOP, "the request has come round to where it has been: see its Via")
        return None

    def _judged(self, way: Way) -> Way:
        why = self.judge.refuses(way.destination)
        return way.end(Reason.DENIED, f"{way.destination}: {why}") if why else way

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
            return way.end(Reason.LOOP, "the request has come round to where it has been: see its Via")
        return way
