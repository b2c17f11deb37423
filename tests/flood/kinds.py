"""What a connection may be flooded with. Each is bytes that are sent again and again, behind a beginning."""

from __future__ import annotations

from typing import NamedTuple

from tests.fuzz.samples import call, command, dubbo

REQUEST, TWO_WAY, EVENT, HESSIAN2 = 0x80, 0x40, 0x20, 2


class Kind(NamedTuple):
    """`unit`: what is repeated. `begin`: what goes before, once. `ask`: of a server, what makes muxproxy
    listen to it. `reads`: the flooder takes what comes. `piece`: bytes of one send(), 0: as many as the
    kernel takes. `alone`: muxproxy answers it by itself, so that other clients of its backend do not wait for
    a server that has it to do."""

    unit: bytes
    begin: bytes = b""
    ask: bytes = b""
    reads: bool = True
    piece: int = 0
    alone: bool = True


_HTTP = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_OPTIONS = b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"


def without_a_byte(name: bytes, words: int) -> bytes:
    """A command of so many words; made in no time, for each process that imports this makes it."""
    return (
        command(name).replace(b"*1\r", b"*%d\r" % (1 + words), 1) + command(b"").partition(b"\n")[2] * words
    )


CLIENTS: dict[str, dict[str, Kind]] = {
    "redis": {
        "newlines": Kind(b"\n"),
        "blank lines": Kind(b" \t \r\n"),
        "no words": Kind(b"*0\r\n"),
        "inline PING": Kind(b"PING\n", alone=False),
        "PING": Kind(command(b"PING"), alone=False),
        "GET unread": Kind(command(b"ECHO", b"x"), reads=False, alone=False),
        "SELECT": Kind(command(b"SELECT", b"1"), alone=False),
        "inline SELECT": Kind(b"SELECT 0\n"),
        "AUTH": Kind(command(b"AUTH", b"wrong")),
        "HELLO": Kind(command(b"HELLO", b"9")),
        "denied": Kind(command(b"MONITOR")),
        "denied inline": Kind(b"MONITOR\n"),
        "UNSUBSCRIBE": Kind(command(b"UNSUBSCRIBE")),
        "UNSUBSCRIBE of many": Kind(without_a_byte(b"UNSUBSCRIBE", 10_000)),
        "UNSUBSCRIBE of too many": Kind(without_a_byte(b"UNSUBSCRIBE", 170_000)),
        "CLIENT SETNAME": Kind(command(b"CLIENT", b"SETNAME", b"n" * 65_000)),
        "CLIENT ID": Kind(command(b"CLIENT", b"ID")),
        "CLIENT REPLY": Kind(command(b"CLIENT", b"REPLY", b"ON")),
        "RESET": Kind(command(b"RESET")),
        "unknown": Kind(b"x\n", alone=False),
        "quotes": Kind(b'"' + b"\\x41" * 15_000 + b'"\n', alone=False),
        "long inline": Kind(b"a" * 60_000 + b"\n", alone=False),
        "words without a byte": Kind(without_a_byte(b"MSET", 200_000), alone=False),
        "MULTI": Kind(command(b"MULTI") + command(b"PING") * 3 + command(b"EXEC"), alone=False),
        "SUBSCRIBE": Kind(command(b"SUBSCRIBE", b"news"), alone=False),
        "in bits": Kind(command(b"PING"), piece=3, alone=False),
    },
    "http": {
        "pipelined GET": Kind(_HTTP, alone=False),
        "pipelined GET, unread": Kind(_HTTP, reads=False, alone=False),
        "refused": Kind(_OPTIONS),
        "chunks of one byte": Kind(b"1\r\nx\r\n", _POST, alone=False),
        "a head without an end": Kind(b"X: y\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"),
        "in bits": Kind(_HTTP, piece=2, alone=False),
    },
    "dubbo": {
        "heartbeats": Kind(dubbo(REQUEST | TWO_WAY | EVENT | HESSIAN2, 0, 0, b"N")),
        "one-way heartbeats": Kind(dubbo(REQUEST | EVENT | HESSIAN2, 0, 0, b"N")),
        "replies": Kind(dubbo(HESSIAN2, 20, 1, b"N")),
        "calls": Kind(b"".join(call(number) for number in range(1, 3000)), alone=False),
        "one-way calls": Kind(dubbo(REQUEST | HESSIAN2, 0, 1, b"call"), alone=False),
        "in bits": Kind(dubbo(REQUEST | TWO_WAY | EVENT | HESSIAN2, 0, 0, b"N"), piece=5),
    },
    "tcp": {
        "bytes": Kind(b"x" * 65536, alone=False),
        "in bits": Kind(b"x", piece=1, alone=False),
    },
}
_REDIS = command(b"GET", b"a")
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_SUBSCRIBED = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
SERVERS: dict[str, dict[str, Kind]] = {
    "redis": {
        "pushes": Kind(b">2\r\n$4\r\nnews\r\n:1\r\n", ask=_REDIS),
        "attributes": Kind(b"|1\r\n+a\r\n+b\r\n", ask=_REDIS),
        "items": Kind(b":1\r\n", b"*1000000000\r\n", ask=_REDIS),
        "arrays in arrays": Kind(b"*1\r\n", ask=_REDIS),
        "a streamed string": Kind(b";1\r\nx\r\n", b"$?\r\n", ask=_REDIS),
        "a bulk": Kind(b"x" * 65536, b"$1000000000\r\n", ask=_REDIS),
        "messages": Kind(
            b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n",
            _SUBSCRIBED,
            ask=command(b"SUBSCRIBE", b"news"),
        ),
        "unasked": Kind(b"+OK\r\n", ask=_REDIS),
    },
    "http": {
        "100 Continue": Kind(b"HTTP/1.1 100 Continue\r\n\r\n", ask=_HTTP),
        "103 with a field": Kind(b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n", ask=_HTTP),
        "chunks of one byte": Kind(b"1\r\nx\r\n", _CHUNKED, ask=_HTTP),
        "chunks for HTTP/1.0": Kind(b"1\r\nx\r\n", _CHUNKED, ask=b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
        "a body": Kind(b"x" * 65536, b"HTTP/1.1 200 OK\r\n\r\n", ask=_HTTP),
        "a head without an end": Kind(b"X: y\r\n", b"HTTP/1.1 200 OK\r\n", ask=_HTTP),
        "unasked": Kind(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ask=_HTTP),
    },
    "dubbo": {
        "heartbeats": Kind(dubbo(REQUEST | TWO_WAY | EVENT | HESSIAN2, 0, 0, b"N"), ask=call(1)),
        "callbacks": Kind(dubbo(REQUEST | TWO_WAY | HESSIAN2, 0, 7, b"call"), ask=call(1)),
        "one-way callbacks": Kind(dubbo(REQUEST | HESSIAN2, 0, 7, b"call"), ask=call(1)),
        "replies to nobody": Kind(dubbo(HESSIAN2, 20, 1 << 40, b"N"), ask=call(1)),
    },
    "tcp": {
        "bytes": Kind(b"x" * 65536, ask=b"x"),
        "in bits": Kind(b"x", ask=b"x", piece=1),
    },
}
