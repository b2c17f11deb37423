"""The words supervisor and workers say to each other, and how they are framed.

A worker is exec'ed with one end of a unix stream socketpair (the control channel) and its listening sockets.
Each message is a 4-byte big-endian length and a msgpack body; both ends are of one installation, so there are
no versions. The channel's end is a message too: a worker whose supervisor is gone stops at once.

    supervisor                          worker
        Configure(backends, listeners) ->
                                    <-  Ready()   every listener accepts
        Ask(serial)                    ->
                                    <-  Stats(serial, snapshot)
        Lend(holder, order, number)    ->         what a pool may hold, of that: budget.py
                                    <-  Holds(holder, report, number)
        Apply(serial, ...)             ->         a reload; its sockets have gone ahead, on the second channel
                                    <-  Applied(serial, problem)
        Reconnect(backend, server)     ->         each connection is replaced as it comes free
                                    <-  Gone(holder)       a pool that was removed has closed its last socket
        Drain(timeout)                 ->         accept no more, finish what is owed
                                    <-  Drained(left)      then exits 0
        (end of stream)                ->         exit at once
                                    <-  Log(...)  at any time: one line for the supervisor's log

The second channel is a SOCK_SEQPACKET socketpair that carries descriptors only (SCM_RIGHTS), which no stream
of asyncio would take: a message for each listener, in the order of Apply.opened, sent before that is said.
"""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.budget import Order, Report
from muxproxy.config.limits import PLACES
from muxproxy.config.model import Backend, Node

MAX_MESSAGE = 64 * 1024 * 1024  # bytes; far above any status, so that a broken peer cannot ask for memory
AT_A_TIME = 128  # descriptors in a message of the second channel; the kernel takes 253 (SCM_MAX_FD)
_LENGTH = 4


class Configure(msgspec.Struct, tag=True, frozen=True):
    backends: list[Backend]
    # backend name -> (address as configured, inherited descriptor)
    listeners: dict[str, list[tuple[str, int]]]
    memory: int = Node().memory
    # backend name -> its pool's number in the ledger, what it has of each number (config/limits.py)
    holders: dict[str, tuple[int, dict[str, Order]]] = {}
    # Seconds in which nobody is refused in a hurry: what it is lent a predecessor has to give up first.
    lenient: float = 0.0


class Lend(msgspec.Struct, tag=True, frozen=True):
    holder: int
    order: Order
    number: str = PLACES
    backend: str = ""  # for a successor, which has not been told of that holder before


class Succeed(msgspec.Struct, tag=True, frozen=True):
    """To another muxproxy that is to take over (supervisor/upgrade.py): sockets that it has inherited."""

    # backend name -> (address as configured, inherited descriptor)
    listeners: dict[str, list[tuple[str, int]]]
    admin: list[tuple[str, int]]
    live: dict[str, Any] = {}  # what operators have changed: supervisor/admin/live.py
    units: dict[int, str] = {}  # those that a socket unit of systemd has, too, and which
    spares: list[tuple[str, int]] = []  # of these, those that are no backend's
    # backend name -> what of it is lent (config/limits.py); of an older one that does not say: its places
    numbers: dict[str, list[str]] = {}


class Holds(msgspec.Struct, tag=True, frozen=True):
    holder: int
    report: Report
    number: str = PLACES


class Gone(msgspec.Struct, tag=True, frozen=True):
    holder: int


class Apply(msgspec.Struct, tag=True, frozen=True):
    """What of a plan (config/plan.py) is one worker's. Removed ones are gone from its names before others of
    the same name are added; addresses are opened before others are closed."""

    serial: int
    memory: int
    drain_timeout: float  # seconds, for what is removed and what may not stay
    removed: list[str] = []
    added: list[Backend] = []
    holders: dict[str, tuple[int, dict[str, Order]]] = {}  # of those
    changed: list[Backend] = []
    opened: list[tuple[str, str]] = []  # backend, address; the descriptors come in this order
    closed: list[tuple[str, str]] = []


class Reconnect(msgspec.Struct, tag=True, frozen=True):
    backend: str
    server: str = ""  # its address; "": towards all of them


class Applied(msgspec.Struct, tag=True, frozen=True):
    serial: int
    problem: str = ""  # a bug: the worker is not what it should be


class Ready(msgspec.Struct, tag=True, frozen=True):
    takes_all: bool = False  # of a successor: orders of all numbers, and not of places alone, as older ones


class Ask(msgspec.Struct, tag=True, frozen=True):
    serial: int


class Stats(msgspec.Struct, tag=True, frozen=True):
    serial: int
    snapshot: dict[str, Any]  # worker-wide keys, and "backends": name -> metrics.snapshot of one backend


class Drain(msgspec.Struct, tag=True, frozen=True):
    timeout: float  # seconds
    gently: bool = False  # others accept: nobody idle is closed at once


class Drained(msgspec.Struct, tag=True, frozen=True):
    left: int  # exchanges cut off because the time was up


class Log(msgspec.Struct, tag=True, frozen=True):
    level: str  # debug | info | warning | error
    event: str  # a short constant phrase
    fields: dict[str, Any]


Message = (
    Configure
    | Ready
    | Ask
    | Stats
    | Lend
    | Holds
    | Apply
    | Applied
    | Reconnect
    | Gone
    | Drain
    | Drained
    | Log
    | Succeed
)

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    # What msgpack does not know becomes its str(): a log line with an exception in it must not raise another.
    body = msgspec.msgpack.encode(message, enc_hook=str)
    return len(body).to_bytes(_LENGTH, "big") + body


def _decode(body: bytes) -> Message:
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise ValueError("control message nested too deep") from None


class MessageReader:
    """Bytes in, messages out. Raises ValueError and nothing else: the other end is not ours, hang up."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= _LENGTH:
            size = int.from_bytes(buffer[start : start + _LENGTH], "big")
            if size > MAX_MESSAGE:
                raise ValueError(f"control message of {size} bytes, at most {MAX_MESSAGE}")
            end = start + _LENGTH + size
            if len(buffer) < end:
                break
            messages.append(_decode(bytes(buffer[start + _LENGTH : end])))
            start = end
        del buffer[:start]
        return messages
