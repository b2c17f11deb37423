"""What operators ask, over HTTP/1.1 on a unix socket: /status (JSON), /metrics (Prometheus) and /healthz.

One request a connection, each within a time and a size, a bounded number of connections at once: a scraper
that hangs costs itself, and where many hang the one that has hung the longest is cut for who comes next: who
asks for our health does not wait for them. Answers are read from the workers when asked; nothing is kept
between two questions.

    curl --unix-socket /run/muxproxy/admin.sock http://localhost/status
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import h11
import msgspec
import trio

from muxproxy import __version__
from muxproxy.metrics.exposition import CONTENT_TYPE, exposition
from muxproxy.supervisor.log import Log

MAX_CONNECTIONS = 16  # one scraper and a few terminals are the usual
MAX_HEAD = 16 * 1024  # bytes of a request; 431 beyond
TIMEOUT = 10.0  # seconds for one connection, its reply included
PATIENCE = 0.2  # seconds of these that one may make us wait while all places are taken and others come
_CHUNK = 16 * 1024
# Descriptors or memory are gone for now: leave the client in the backlog and try again (trio.serve_listeners
# does).
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_RETRY = 0.1


class Source(Protocol):
    """Whom the admin socket asks."""

    state: str  # starting | serving | draining

    async def report(self) -> dict[str, Any]: ...


class Reply(NamedTuple):
    status: int
    content_type: str
    body: bytes
    allow: str = ""


class _Guests:
    """Those who are connected: so many, and of them those for whom we wait, the longest first."""

    def __init__(self) -> None:
        self.places = trio.Semaphore(MAX_CONNECTIONS)
        self._awaited: dict[trio.CancelScope, float] = {}  # since when

    def wait_for(self, scope: trio.CancelScope) -> None:
        self._awaited[scope] = trio.current_time()

    def heard(self, scope: trio.CancelScope) -> None:
        self._awaited.pop(scope, None)

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


async def serve(sock: trio.socket.SocketType, source: Source, log: Log) -> None:
    guests = _Guests()
    async with trio.open_nursery() as nursery:
        while True:
            client = await _accept(sock)
            await guests.make_room()
            nursery.start_soon(_serve_one, trio.SocketStream(client), source, log, guests)


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


async def _serve_one(stream: trio.SocketStream, source: Source, log: Log, guests: _Guests) -> None:
    scope = trio.move_on_after(TIMEOUT)
    guests.wait_for(scope)
    try:
        with scope:
            async with stream:
                await _converse(stream, source, log, guests, scope)
    except trio.BrokenResourceError:
        pass  # the client left before its reply was out
    finally:
        guests.heard(scope)
        guests.places.release()


async def _converse(
    stream: trio.SocketStream, source: Source, log: Log, guests: _Guests, scope: trio.CancelScope
) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        request = await _read_request(connection, stream)
    except h11.RemoteProtocolError as error:
        await stream.send_all(_encode(connection, _text(error.error_status_hint, str(error)), is_head=False))
        return
    if request is not None:
        guests.heard(scope)
        reply = await _answer(request, source, log)
        guests.wait_for(scope)
        await stream.send_all(_encode(connection, reply, is_head=request.method == b"HEAD"))


def _encode(connection: h11.Connection, reply: Reply, *, is_head: bool) -> bytes:
    headers = [
        ("Content-Type", reply.content_type),
        ("Content-Length", str(len(reply.body))),
        ("Connection", "close"),
    ]
    if reply.allow:
        headers.append(("Allow", reply.allow))  # RFC 9110 section 15.5.6: a 405 must say what is allowed
    out = connection.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    if not is_head:
        out += connection.send(h11.Data(data=reply.body)) or b""
    return out + (connection.send(h11.EndOfMessage()) or b"")


async def _read_request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """The head; None if the client left. A body is not read: no question of ours has one."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await stream.receive_some(_CHUNK))


async def _answer(request: h11.Request, source: Source, log: Log) -> Reply:
    page = _PAGES.get(request.target.partition(b"?")[0])
    if page is None:
        return _text(404, "pages: /status /metrics /healthz")
    if request.method not in (b"GET", b"HEAD"):
        return _text(405, "GET or HEAD")._replace(allow="GET, HEAD")
    try:
        return await page(source)
    except Exception as error:
        # A number that a page cannot show is our bug; it must not end the service that is being looked at.
        log.error("admin page failed", page=request.target.decode("latin-1"), error=repr(error))
        return _text(500, f"muxproxy's own fault: {error!r}")


async def _status(source: Source) -> Reply:
    body = msgspec.json.format(msgspec.json.encode(await source.report()), indent=2)
    return Reply(200, "application/json", body + b"\n")


async def _metrics(source: Source) -> Reply:
    report = await source.report()
    text = exposition(__version__, report["workers"], report["backends"])
    return Reply(200, CONTENT_TYPE, text.encode())


async def _healthz(source: Source) -> Reply:
    """Ready to be sent clients: not before every worker was ready once, not while draining."""
    return _text(200 if source.state == "serving" else 503, source.state)


_PAGES: dict[bytes, Callable[[Source], Awaitable[Reply]]] = {
    b"/status": _status,
    b"/metrics": _metrics,
    b"/healthz": _healthz,
}


def _text(status: int, line: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{line}\n".encode())
