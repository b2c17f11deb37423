"""How operators ask: HTTP/1.1, one request a connection. What is asked and answered is in pages.py.

Each connection within a time, a head and a body within a size, and a bounded number of connections at once: a
scraper that hangs costs itself, and where many hang the one that has hung the longest is cut for who comes
next: who asks for our health does not wait for them. A request that is in is never left half-way, however
long it takes, and whoever it came from has gone.

Kept by hand on h11, after a comparison with starlette on hypercorn's trio: an ASGI scope has no place for the
peer's credentials (SO_PEERCRED); hypercorn bounds a head's size and the time between two reads, but not the
time of a request, the size of a body or the number of connections, let alone whom to cut for the next one;
and it brings nine packages, 9 MiB and 0.2 s of CPU at each start, where this is one file.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

import h11
import trio

from muxproxy.supervisor.log import Log

MAX_CONNECTIONS = 16  # of each socket; one scraper and a few terminals are the usual
MAX_HEAD = 16 * 1024  # bytes of a request; 431 beyond
MAX_BODY = 16 * 1024  # 413 beyond
TIMEOUT = 10.0  # seconds for a request to come, and as many for its reply to be taken
PATIENCE = 0.2  # seconds of these that one may make us wait while all places are taken and others come
# Closing upon bytes that nobody has read is an RST, which may destroy a refusal on its way (RFC 9112 section
# 9.6): so many bytes and seconds are read and thrown away.
LINGER_BYTES = 256 * 1024
LINGER = 1.0
_CHUNK = 16 * 1024
# Descriptors or memory are gone for now: leave the client in the backlog and try again (trio.serve_listeners
# does).
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_RETRY = 0.1
_UCRED = struct.Struct("iII")  # unix(7): pid, uid, gid


class Peer(NamedTuple):
    """Who is at the other end of a unix socket, as the kernel says (SO_PEERCRED): when it connected."""

    uid: int
    pid: int


class Request(NamedTuple):
    method: str
    target: str
    content_type: str = ""
    body: bytes = b""
    peer: Peer | None = None  # over TCP nobody knows
    host: str = ""  # whom it meant


class Reply(NamedTuple):
    status: int
    content_type: str
    body: bytes
    allow: str = ""


Answer = Callable[[Request], Awaitable[Reply]]
Refuse = Callable[[int, str], Reply]  # what was no request


class _Guests:
    """Those who are connected: so many, and of them those for whom we wait, the longest first."""

    def __init__(self) -> None:
        self.places = trio.Semaphore(MAX_CONNECTIONS)
        self._awaited: dict[trio.CancelScope, float] = {}  # since when

    def wait_for(self, scope: trio.CancelScope) -> None:
        self._awaited[scope] = trio.current_time()
        scope.deadline = trio.current_time() + TIMEOUT

    def heard(self, scope: trio.CancelScope) -> None:
        self._awaited.pop(scope, None)
        scope.deadline = math.inf

    def _cut_oldest(self) -> None:
        scope, since = next(iter(self._awaited.items()), (None, 0.0))
        if scope is not None and since + PATIENCE <= trio.current_time():
            scope.cancel()

    async def make_room(self) -> None:
        while True:
            if self.places.value == 0:
                self._cut_oldest()
            with trio.move_on_after(PATIENCE):
                await self.places.acquire()
                return


class _GarbageError(Exception):
    """No request: the status that says what is wrong with it, and how."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


async def serve(
    sock: trio.socket.SocketType,
    answer: Answer,
    refuse: Refuse,
    log: Log,
    accepting: trio.CancelScope | None = None,
) -> None:
    """Until `accepting` is cancelled and who has been accepted has had an answer."""
    guests = _Guests()
    async with trio.open_nursery() as nursery:
        with accepting or trio.CancelScope():
            while True:
                client = await _accept(sock)
                await guests.make_room()
                nursery.start_soon(_serve_one, client, answer, refuse, log, guests)


async def _accept(sock: trio.socket.SocketType) -> trio.socket.SocketType:
    while True:
        try:
            client, _ = await sock.accept()
            return client
        except OSError as error:
            if error.errno in _PASSING:
                await trio.sleep(_RETRY)
            elif error.errno != errno.ECONNABORTED:  # accept(2): that client has left again
                raise


async def _serve_one(
    client: trio.socket.SocketType, answer: Answer, refuse: Refuse, log: Log, guests: _Guests
) -> None:
    scope = trio.CancelScope()
    guests.wait_for(scope)
    try:
        with scope:
            async with trio.SocketStream(client) as stream:
                await _converse(_Visit(stream, peer_of(client), guests, scope), answer, refuse, log)
    except trio.BrokenResourceError:
        pass  # the client left before its reply was out
    finally:
        guests.heard(scope)
        guests.places.release()


def peer_of(sock: trio.socket.SocketType) -> Peer | None:
    if sock.family != socket.AF_UNIX:
        return None
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(uid, pid)


class _Visit:
    """One connection."""

    def __init__(
        self, stream: trio.SocketStream, peer: Peer | None, guests: _Guests, scope: trio.CancelScope
    ) -> None:
        self.stream = stream
        self.peer = peer
        self.guests = guests
        self.scope = scope
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                await self.stream.send_all(self.http.send(_CONTINUE) or b"")
            self.http.receive_data(await self.stream.receive_some(_CHUNK))
        return event

    async def reply(self, reply: Reply, *, is_head: bool) -> None:
        await self.stream.send_all(_encode(self.http, reply, is_head=is_head))
        if self.http.their_state is not h11.DONE:
            await self._linger()

    async def _linger(self) -> None:
        await self.stream.send_eof()
        left = LINGER_BYTES
        with trio.move_on_after(LINGER):
            while left > 0 and (data := await self.stream.receive_some(_CHUNK)):
                left -= len(data)


_CONTINUE = h11.InformationalResponse(status_code=100, headers=[])


async def _converse(visit: _Visit, answer: Answer, refuse: Refuse, log: Log) -> None:
    try:
        request = await _read(visit)
    except h11.RemoteProtocolError as error:
        await visit.reply(refuse(error.error_status_hint, str(error)), is_head=False)
    except _GarbageError as error:
        await visit.reply(refuse(error.status, str(error)), is_head=False)
    else:
        if request is not None:
            visit.guests.heard(visit.scope)
            reply = await _answer(request, answer, refuse, log)
            visit.guests.wait_for(visit.scope)
            await visit.reply(reply, is_head=request.method == "HEAD")


async def _read(visit: _Visit) -> Request | None:
    """None if the client left. Raises _GarbageError and what h11 says of a peer."""
    head = await visit.next_event()
    if not isinstance(head, h11.Request):
        return None
    body = b""
    while isinstance(event := await visit.next_event(), h11.Data):
        body += event.data
        if len(body) > MAX_BODY:
            raise _GarbageError(413, f"a body of more than {MAX_BODY} bytes")
    if not isinstance(event, h11.EndOfMessage):
        return None
    fields = [(name, value.decode("latin-1")) for name, value in head.headers]
    return Request(
        head.method.decode("latin-1"),
        head.target.decode("latin-1"),
        ", ".join(value for name, value in fields if name == b"content-type"),
        body,
        visit.peer,
        ", ".join(value for name, value in fields if name == b"host"),
    )


async def _answer(request: Request, answer: Answer, refuse: Refuse, log: Log) -> Reply:
    try:
        return await answer(request)
    except Exception as error:
        # A number that a page cannot show is our bug; it must not end the service that is being looked at.
        log.error("admin page failed", page=request.target, error=repr(error))
        return refuse(500, f"muxproxy's own fault: {error!r}")


def _encode(connection: h11.Connection, reply: Reply, *, is_head: bool) -> bytes:
    headers = [
        ("Content-Type", reply.content_type),
        ("Content-Length", str(len(reply.body))),
        ("Connection", "close"),
    ]
    if reply.allow:
        headers.append(("Allow", reply.allow))  # RFC 9110 section 15.5.6: a 405 must say what is allowed
    phrase = HTTPStatus(reply.status).phrase.encode()
    out = connection.send(h11.Response(status_code=reply.status, headers=headers, reason=phrase)) or b""
    if not is_head:
        out += connection.send(h11.Data(data=reply.body)) or b""
    return out + (connection.send(h11.EndOfMessage()) or b"")
