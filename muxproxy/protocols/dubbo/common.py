"""What the files of this folder share: the 16-byte header, the bits of a note, one backend's settings.

    0  2      3       4           12      16
    |  |flags |status | request id | length | body ...     big-endian; length is the body's

flags: 0x80 request, 0x40 two-way, 0x20 event, low five bits the serialization of the body. Dubbo's own code
is the specification: ExchangeCodec, DubboCodec, CodecSupport, HeartbeatHandler (apache/dubbo).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from muxproxy.config.model import Dubbo
from muxproxy.native import i64, is_compiled

MAGIC: Final = 0xDABB
MAGIC_BYTES: Final = b"\xda\xbb"
# Magic, flags, status, id, length. Unsigned, so that a negative length is an impossible one.
HEADER: Final = Struct(">HBBQI")
HEADER_SIZE: Final = HEADER.size

REQUEST, TWO_WAY, EVENT = 0x80, 0x40, 0x20
SERIALIZATION: Final = 0x1F  # mask
OK: Final = 20  # status

HESSIAN2, FASTJSON, GSON, FASTJSON2 = 2, 6, 16, 23  # serialization ids (Constants.java)

# And those whose strings are not read (names.py), for people.
NAMES: Final = {
    3: "java",
    4: "compactedjava",
    7: "nativejava",
    8: "kryo",
    9: "fst",
    10: "nativehessian",
    11: "avro",
    12: "protostuff",
    21: "protobuf-json",
    22: "protobuf",
    25: "kryo2",
    27: "msgpack",
}

# Providers close a connection from which they have read nothing for three of their own heartbeats. This is
# less than three of 2 s; of those that are shorter still the provider shows its pace
# (mux/tagged/upstream.py).
KEEP: Final = 5.0  # seconds

# Events say null (a heartbeat), "R" or "W": a few bytes in every serialization. They are kept until they are
# whole. Java refuses those above 15 bytes (`deserialization.event.size`).
MAX_EVENT: Final = 1024
# Of a call whose limit must be known, so much is waited for: four strings. Beyond it goes on without.
MAX_NAMES: Final = 4096

# A note, from a request to its refusal: its serialization, and above it the number of its limit, from 1.
LIMIT_SHIFT: Final = 5


class Settings:
    """Of one backend, seen by all its framers."""

    __slots__ = ("counters", "limits", "max_frame", "numbers", "unread")

    def __init__(self, options: Dubbo) -> None:
        # Each that there ever was, by its number from 1, which calls have in their notes.
        self.numbers: dict[tuple[str, str], int] = {}
        self.unread: dict[int, int] = {}  # serialization (five bits) -> calls whose names it hides
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.configure(options)

    def configure(self, options: Dubbo) -> None:
        self.max_frame = options.max_frame
        # service -> method, b"" for all others of the service -> the limit's number from 1. A call counts
        # against one limit, the one that names its method if there is one: waiting for two at once would
        # need an order of limits, or deadlock.
        self.limits: dict[bytes, dict[bytes, int]] = {}
        for limit in options.limits:
            number = self.numbers.setdefault((limit.service, limit.method), len(self.numbers) + 1)
            self.limits.setdefault(limit.service.encode(), {})[limit.method.encode()] = number

    def limit_of(self, service: bytes, method: bytes) -> int:
        """0: none."""
        methods = self.limits.get(service)
        if methods is None:
            return 0
        return methods.get(method) or methods.get(b"", 0)


# What only this protocol counts, for operators.
COUNTERS: Final = (
    "heartbeats_answered",  # of clients and servers
    "callbacks_refused",  # requests that a provider sent
    "replies_too_long",  # above max_frame: their callers got an error instead
    "read_only",  # connections that a provider announced to be closing
    "events_from_clients",  # of whatever else was an event
    "replies_from_clients",  # from clients, which nobody asked
    "unread_names",  # calls whose service and method could not be read although a limit may be on them
)


def header(data: bytes, at: i64) -> tuple[int, int, int, int]:
    """Magic, flags, id, length at `at`, where HEADER_SIZE bytes are: as HEADER does, byte by byte, which is
    what a compiled framer does best."""
    high, low = _four(data, at + 4), _four(data, at + 8)
    tag: int
    if high < 1 << 29:
        near: i64 = high << 32 | low
        tag = near
    else:  # more than fits: up to 2**64
        tag = int(high) << 32 | int(low)
    return data[at] << 8 | data[at + 1], data[at + 2], tag, _four(data, at + 12)


# All that a call or a good reply may begin with, by its flags: nothing is made anew for them.
_CALLS: Final = [MAGIC_BYTES + bytes((flags, 0)) for flags in range(256)]
_REPLIES: Final = [MAGIC_BYTES + bytes((flags, OK)) for flags in range(256)]


def beginning(data: bytes, at: i64) -> bytes:
    """`data[at : at + 4]`, where HEADER_SIZE bytes are: magic, flags, status."""
    if data[at] != 0xDA or data[at + 1] != 0xBB:
        return data[at : at + 4]
    status = data[at + 3]
    if status == OK:
        return _REPLIES[data[at + 2]]
    return data[at : at + 4] if status else _CALLS[data[at + 2]]


_LAST: Final = [bytes((number,)) for number in range(256)]
_KNOWN: Final = 256  # beginnings of ids that are remembered
_numbers: Final = [0] * _KNOWN  # at number & 255; elsewhere than at 0 none is 0
_sevens: Final = [bytes(7)] * _KNOWN


def seven(tag: int) -> bytes:
    """All but the last byte of an id. Those of a connection count up, so it is nearly always one that was
    just used, by this one or another: made anew it costs five times as much."""
    number = tag >> 8
    at = number & (_KNOWN - 1)
    if _numbers[at] != number:
        _sevens[at] = number.to_bytes(7, "big")  # which may raise
        _numbers[at] = number
    return _sevens[at]


def last(tag: int) -> bytes:
    return _LAST[tag & 0xFF]


def _four(data: bytes, at: i64) -> i64:
    a: i64 = data[at]
    b: i64 = data[at + 1]
    c: i64 = data[at + 2]
    d: i64 = data[at + 3]
    return a << 24 | b << 16 | c << 8 | d


COMPILED: Final = is_compiled(header)


def heartbeat_reply(event: bytes) -> bytes:
    """HeartbeatHandler: the same id, the same serialization, and a null, which the question's body is
    already."""
    return event[:2] + bytes((EVENT | event[2] & SERIALIZATION, OK)) + event[4:]


# A one-way event that says "R": consumers ask another provider, if they have one (HeaderExchangeServer).
READONLY: Final = HEADER.pack(MAGIC, REQUEST | EVENT | HESSIAN2, 0, 0, 2) + b"\x01R"
# A two-way event that says null: "do you live?". Our calls' ids begin at 1. Every provider has Hessian2.
HEARTBEAT: Final = HEADER.pack(MAGIC, REQUEST | TWO_WAY | EVENT | HESSIAN2, 0, 0, 1) + b"N"
