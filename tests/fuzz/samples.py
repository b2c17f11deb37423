"""What well-behaved peers say, in each protocol, and how a hostile one spoils it.

`requests(protocol)` and `replies(protocol)` are whole messages to begin from; `spoiled` makes of them what
no honest peer says: bytes changed, cut, repeated, lengths that lie, two messages grown together. All chance
comes from the `Random` that is handed in: a seed says everything.
"""

from __future__ import annotations

import struct
from random import Random

PROTOCOLS = ("http", "redis", "dubbo", "tcp")
LARGEST = 1 << 20  # bytes of what `spoiled` makes

_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"00",
    b"255",
    b"4294967296",
    b"18446744073709551616",
    b"99999999999999999999999",
)
_ODD = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\xff",
    b"\r\n\r\n",
    b"\x1b[2J",
    b":",
    b"$",
    b"*",
    b"\xda\xbb",
)


def command(*words: bytes) -> bytes:
    """A RESP array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def dubbo(flags: int, status: int, tag: int, body: bytes) -> bytes:
    return struct.pack(">HBBQI", 0xDABB, flags, status, tag, len(body)) + body


def call(tag: int, method: bytes = b"echo", body: bytes = b"") -> bytes:
    """A two-way Hessian2 invocation."""
    words = (b"2.0.2", b"org.example.Echo", b"1.0.0", method, b"Ljava/lang/String;")
    return dubbo(0xC2, 0, tag, b"".join(bytes((len(word),)) + word for word in words) + body + b"H\x5a")


_REQUESTS = {
    "http": (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /echo?token=1 HTTP/1.1\r\nHost: a\r\nX-Token: 1\r\nCookie: a=b; c=d\r\nAccept: */*\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;e=f\r\na\r\n0\r\nT: x\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ),
    "redis": (
        b"PING\r\n",
        b"\r\n" * 50,
        command(b"GET", b"key"),
        command(b"SET", b"key", b"v" * 100),
        command(b"MULTI") + command(b"INCR", b"n") + command(b"EXEC"),
        command(b"SELECT", b"3"),
        command(b"AUTH", b"nobody", b"wrong"),
        command(b"HELLO", b"3", b"AUTH", b"default", b"x", b"SETNAME", b"n"),
        command(b"CLIENT", b"SETNAME", b"n" * 1000),
        command(b"CLIENT", b"REPLY", b"SKIP") + command(b"PING"),
        command(b"SUBSCRIBE", b"a", b"b", b"c"),
        command(b"UNSUBSCRIBE"),
        command(b"WATCH", b"key") + command(b"UNWATCH"),
        command(b"BLPOP", b"none", b"1"),
        command(b"EVAL", b"return 1", b"0"),
        command(b"SHUTDOWN"),
        command(b"NOSUCHCOMMAND", b"x" * 300),
        command(b"RESET"),
        command(b"QUIT"),
        b"*0\r\n*-1\r\n",
    ),
    "dubbo": (
        call(1),
        call(2**64 - 1, b"sleep"),
        call(7, b"echo", b"x" * 5000),
        dubbo(0xE2, 0, 5, b"N"),  # a heartbeat
        dubbo(0xA2, 0, 6, b"N"),  # a one-way event
        dubbo(0x82, 0, 9, b"\x052.0.2\x01a\x011\x01m"),  # a one-way call
        dubbo(0xC8, 0, 3, b'"2.0.2"\n"a"\n"1"\n"m"\n""\n{}\n'),  # fastjson
        dubbo(0x22, 20, 5, b"N"),
    ),
    "tcp": (b"hello\n", b"x" * 3000, b"\0" * 16),
}
_REPLIES = {
    "http": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxyz",
        b"HTTP/1.1 200 OK\r\n"
        + b"".join(b"X-%d: y\r\n" % i for i in range(100))
        + b"Content-Length: 3\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ),
    "redis": (
        b"+OK\r\n",
        b"+PONG\r\n" * 100,
        b"$3\r\nabc\r\n",
        b"$-1\r\n",
        b":12\r\n",
        b"-ERR no\r\n",
        b"-BUSY Redis is busy running a script.\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"%1\r\n+a\r\n#t\r\n",
        b">3\r\n+message\r\n+a\r\n+b\r\n" * 30,
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"+QUEUED\r\n",
        b"$70000\r\n" + b"z" * 70000 + b"\r\n",
    ),
    "dubbo": (
        dubbo(2, 20, 1, b"\x94\x02ok"),
        dubbo(2, 20, 2, b"x" * 20000),
        dubbo(2, 100, 3, b"\x05error"),
        dubbo(0x22, 20, 0, b"N") * 50,
        dubbo(0xE2, 0, 4, b"N"),
        dubbo(0xA2, 0, 0, b"\x01R"),
        call(11, b"callback"),
    ),
    "tcp": (b"world\n", b"y" * 3000),
}


def requests(protocol: str) -> tuple[bytes, ...]:
    return _REQUESTS[protocol]


def replies(protocol: str) -> tuple[bytes, ...]:
    return _REPLIES[protocol]


def spoiled(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    """`data` as a hostile peer may say it; often enough as it was."""
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        data = chance.choice(_SPOILERS)(chance, data, others)[:LARGEST]
    return data


def _flip(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]


def _insert(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(_ODD + _NUMBERS) + data[at:]


def _remove(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.choice((1, 2, 10, 1000)) :]


def _lie(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    """A number, a length as a rule, becomes another one."""
    digits = [at for at in range(min(len(data), 2000)) if data[at : at + 1].isdigit()]
    if not digits:
        return _flip(chance, data, others)
    at = chance.choice(digits)
    return data[:at] + chance.choice(_NUMBERS) + data[at + 1 :]


def _repeat(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    return data * chance.choice((2, 3, 100, 2000))


def _join(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    other = chance.choice(others)
    at = chance.randrange(len(other) + 1)
    return data + other[:at] if chance.random() < 0.5 else other[at:] + data


def _stretch(chance: Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at : at + 1] * chance.choice((100, 5000, 70000)) + data[at:]


_SPOILERS = (_flip, _insert, _remove, _lie, _repeat, _join, _stretch)


def cuts(chance: Random, data: bytes) -> list[bytes]:
    """`data` in parts of any size, now and then byte by byte."""
    if len(data) <= 1000 and chance.random() < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    parts = []
    while data:
        size = chance.choice((1, 2, 7, 100, 4096, 65536))
        parts.append(data[:size])
        data = data[size:]
    return parts
