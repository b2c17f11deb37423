"""Two clients, told the same, at a server direct and at another through muxproxy: what each gets.

An action is one write of one client. The direct server says how many replies it causes, for both clients; so
many must come through muxproxy, the same byte by byte, but for what `normal` leaves out. `MESSAGES` may
stand elsewhere between replies: they come over another connection.
"""

from __future__ import annotations

import re
import select
from typing import NamedTuple

from tests.system.redis.proxied import Pair
from tests.system.redis.wire import Wire, Word, command

# Left out, each with its reason.
_NORMAL = (
    # The id in HELLO's reply: muxproxy's own numbers, for it is muxproxy's connection that the client has.
    (re.compile(rb"(\$2\r\nid\r\n):\d+"), rb"\1:ID"),
)
# While a RESP2 client is subscribed, muxproxy refuses all but the six words by itself and does not ask the
# server first whether there is such a command and whether its arguments are enough.
_NOT_NOW = re.compile(rb"-ERR (unknown (sub)?command|wrong number of arguments|Can't execute) .*\r\n")
_ACK = re.compile(rb"[*>]3\r\n\$\d+\r\n([sp]?)(?:un)?subscribe\r\n")
MESSAGES = re.compile(rb"[*>][34]\r\n\$[78]\r\n[ps]?message\r\n")


PATIENCE = 10.0  # seconds for a reply that must come


class Action(NamedTuple):
    client: int  # 0 or 1
    data: bytes
    # What is not compared, or not done, for what it depends on:
    number: bool = (
        False  # an integer reply: CLIENT ID; PUBLISH, which counts muxproxy's connection, not clients
    )
    names: bool = False  # the channels of UNSUBSCRIBE without names come in the order of a hash table
    in_multi: bool = (
        True  # muxproxy answers it itself, or refuses it, in a transaction that arrives in pieces
    )
    subscribed: bool = True  # HELLO while subscribed: one feed per RESP version

    def __repr__(self) -> str:
        left_out = "".join(
            f", {name}={getattr(self, name)}"
            for name, default in self._field_defaults.items()
            if getattr(self, name) != default
        )
        data = re.sub(rb"x{1000,}", b"<many x>", self.data)
        return f"Action({self.client}, {data!r}{left_out})"


def act(client: int, *words: Word, **options: bool) -> Action:
    return Action(client, command(*words), **options)


class Side:
    """Two clients of one server, and what came for each and is not compared yet."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.wires = [Wire(address, within=PATIENCE), Wire(address, within=PATIENCE)]

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


class DifferenceError(AssertionError):
    pass


class Conversation:
    def __init__(self, pair: Pair) -> None:
        pair.direct.flush()
        pair.behind.flush()
        self.control = pair.direct.direct()
        self.direct = Side(str(pair.direct.folder / "sock"))
        self.through = Side(pair.proxy.address)
        self.in_multi = [False, False]
        self.listens = [[False, False], [False, False]]  # to channels and patterns, to shard channels
        self.is_muted = [False, False]
        self.is_skipping = [False, False]

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.direct.close()
        self.through.close()

    def run(self, actions: list[Action]) -> None:
        for number, action in enumerate(actions):
            if self.may(action):
                self.do(action, f"action {number}, {action}")
        for client in (0, 1):
            if not (self.is_muted[client] or self.is_skipping[client]):  # then Redis 7.0 forgets to close
                self.do(act(client, "QUIT"), f"QUIT of client {client} at the end")
                self.same_rest(client)

    def may(self, action: Action) -> bool:
        client = action.client
        if self.is_muted[1 - client] or self.is_skipping[1 - client]:
            return False  # nothing tells when what the other one has sent has run
        if self.in_multi[client] and not action.in_multi:
            return False
        if self.is_skipping[client] and action.data in _EMPTY:
            return False  # for Redis an empty command uses REPLY SKIP up, for muxproxy it is none
        return action.subscribed or not any(self.listens[client])

    def do(self, action: Action, what: str) -> None:
        self.direct.wires[action.client].send(action.data)
        self.settle(len(action.data))
        self.through.wires[action.client].send(action.data)
        for client in (0, 1):
            direct = drained(self.direct.wires[client])
            try:
                through = [self.through.wires[client].reply() for _ in direct]
            except (TimeoutError, EOFError) as error:
                raise DifferenceError(f"{what}: client {client} got {error!r}, direct {direct}") from error
            subscribed = any(self.listens[client])
            if normal(through, action, subscribed) != normal(direct, action, subscribed):
                raise DifferenceError(f"{what}: client {client} got\n  {through}, direct\n  {direct}")
            self.follow(client, direct, action)

    def settle(self, size: int) -> None:
        """The direct server has begun to say all that it has to say: it reads at most 16 KiB per turn of its
        loop, and what it answers is flushed in the next turn."""
        for _ in range(2 + size // 8192):
            assert self.control.ask("PING") == b"+PONG\r\n"

    def follow(self, client: int, replies: list[bytes], action: Action) -> None:
        """In which mode the client is now."""
        if client == action.client:
            self.is_skipping[client] = action.data == _SKIP
            if action.data in _REPLIES:
                self.is_muted[client] = not replies
        for reply in replies:
            if ack := _ACK.match(reply):
                self.listens[client][ack[1] == b"s"] = not reply.endswith(b":0\r\n")
        if client != action.client:
            return
        if about := _TRANSACTION.findall(action.data):
            self.in_multi[client] = about[-1] == b"MULTI"
        if action.data == command("RESET"):
            self.listens[client] = [False, False]

    def same_rest(self, client: int) -> None:
        """Both have closed, and neither has said more."""
        direct = self.direct.wires[client].rest()
        try:
            through = self.through.wires[client].rest()
        except TimeoutError as error:
            raise DifferenceError(f"client {client} is not closed after QUIT") from error
        if direct != through:
            raise DifferenceError(f"client {client} got at the end {through!r}, direct {direct!r}")


_EMPTY = (b"\r\n", b"*0\r\n", b"*-1\r\n")
_SKIP = command("CLIENT", "REPLY", "SKIP")
_REPLIES = tuple(command("CLIENT", "REPLY", word) for word in ("OFF", "off", "ON"))
_TRANSACTION = re.compile(rb"\*1\r\n\$\d\r\n(MULTI|EXEC|DISCARD|RESET)\r\n")


def drained(wire: Wire) -> list[bytes]:
    """All replies that are there, or begin to be: a large one does not fit into the socket's buffer."""
    replies = []
    while wire.buffer or select.select([wire.sock], [], [], 0)[0]:
        try:
            replies.append(wire.reply())
        except EOFError:
            break
    return replies


def normal(replies: list[bytes], action: Action, subscribed: bool) -> tuple[list[bytes], list[bytes]]:
    """Replies and messages, without what is left out."""
    told: tuple[list[bytes], list[bytes]] = ([], [])
    for reply in replies:
        for pattern, replacement in _NORMAL:
            reply = pattern.sub(replacement, reply)
        if subscribed:
            reply = _NOT_NOW.sub(b"-ERR NOT NOW", reply)
        if action.number:
            reply = re.sub(rb":\d+\r\n", b":N\r\n", reply)
        if action.names:
            reply = re.sub(rb"(unsubscribe\r\n)\$\d+\r\n[^\r]*\r\n", rb"\1NAME\r\n", reply)
        told[MESSAGES.match(reply) is not None].append(reply)
    told[1].sort()  # an action publishes once; several patterns match in the order of a hash table
    return told
