"""What one client listens to, and its requests about that: the client's side of feed.py.

`wanted` runs ahead: it is what the client will listen to once its requests so far are answered, for a RESP2
client is in the subscribed mode from the moment it asks. `joined` is what it gets messages of, and what the
counts in its acknowledgements are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from muxproxy.protocols import contract
from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.framing.note import Note
from muxproxy.protocols.redis.words import null

CHANNEL, PATTERN, SHARD = range(3)
# command -> (kind, does it join)
VERBS = {
    "subscribe": (CHANNEL, True),
    "psubscribe": (PATTERN, True),
    "ssubscribe": (SHARD, True),
    "unsubscribe": (CHANNEL, False),
    "punsubscribe": (PATTERN, False),
    "sunsubscribe": (SHARD, False),
}
EACH = 512  # bytes that a channel costs, beside its name
Names = dict[bytes, None]  # ordered, so that what depends on the order is the same every time


class Listener(contract.Session):
    """A session, as far as it listens."""

    __slots__ = ("subscriptions",)

    def __init__(self) -> None:
        self.subscriptions: Listening | None = None

    def on_listening(self) -> None:
        """What it listens to has changed, or what it has asked for."""
        raise NotImplementedError


class Request(Note):
    """One (P|S)(UN)SUBSCRIBE, or the RESET of a client that listens; the note of its frame."""

    __slots__ = ("error", "head", "is_told", "names", "resp", "session", "waiting")

    def __init__(
        self, command: Command, session: Listener, resp: int, names: list[bytes], *, mute: bool
    ) -> None:
        super().__init__(command, mute=mute)
        self.session = session
        self.resp = resp  # when it came: a RESET behind it does not change how it is answered
        self.names = names
        verb = command.name.encode("latin-1")
        self.head = b"%b3\r\n$%d\r\n%b\r\n" % (b">" if self.resp == 3 else b"*", len(verb), verb)
        self.is_told = False  # the feed has it; until then it is held behind the client's earlier commands
        self.waiting = 0  # channels that the server has not acknowledged yet
        self.error = b""  # its error for one of them, the whole reply

    def on_refused(self) -> None:
        """The heart has answered it itself. If the feed has it, that is told too (PubSub.cancel)."""
        listening = self.session.subscriptions
        if listening is not None and not self.is_told:
            listening.take_back(self)


class Listening:
    """By kind: channels, patterns, shard channels."""

    __slots__ = ("failed", "joined", "requests", "session", "size", "wanted")

    def __init__(self, session: Listener) -> None:
        self.session = session
        self.joined: tuple[Names, Names, Names] = ({}, {}, {})
        self.wanted: tuple[Names, Names, Names] = ({}, {}, {})
        self.requests: deque[Request] = deque()  # asked, not answered
        self.size = 0  # what it wants costs so many bytes
        self.failed = False  # something that it asked for did not come to be, or ended by itself

    def wants(self) -> bool:
        channels, patterns, shards = self.wanted
        return bool(channels or patterns or shards)

    def expects(self) -> bool:
        """Something may come to it."""
        channels, patterns, shards = self.joined
        return bool(channels or patterns or shards or self.requests)

    def ask(self, request: Request) -> None:
        """It is on its way."""
        self.requests.append(request)
        kind, joins = VERBS.get(request.command.name, (CHANNEL, False))
        wanted = self.wanted[kind]
        if joins:
            for name in request.names:
                if name not in wanted:
                    wanted[name] = None
                    self.size += EACH + len(name)
        elif request.command.name not in VERBS:  # RESET
            for kind in (CHANNEL, PATTERN, SHARD):
                self.wanted[kind].clear()
            self.size = 0
        else:
            for name in request.names or list(wanted):
                if name in wanted:
                    del wanted[name]
                    self.size -= EACH + len(name)

    def more(self, kind: int, names: list[bytes]) -> int:
        """Bytes that they would cost besides, each named once."""
        new = set(names).difference(self.wanted[kind])
        return EACH * len(new) + sum(map(len, new))

    def take_back(self, request: Request) -> None:
        """It is not to be."""
        self.failed = True
        if request in self.requests:
            self.requests.remove(request)
        if not self.requests:
            self.settle()

    def settle(self) -> None:
        """Nothing is on its way any more: what it wants is what it has, be it that something failed.
        Only then are they compared: there may be tens of thousands, at each of its requests (P10)."""
        failed, self.failed = self.failed, False
        for wanted, joined in zip(self.wanted, self.joined, strict=True):
            if failed and wanted != joined:
                wanted.clear()
                wanted.update(joined)
                self.size = sum(EACH + len(name) for names in self.wanted for name in names)
        self.session.on_listening()

    def acknowledge_none(self, request: Request, kind: int, names: Sequence[bytes | None]) -> bytes:
        """As `acknowledge`, of names that change nothing: all count alike."""
        head, _, tail = self.acknowledge(request, kind, b"").partition(b"$0\r\n\r\n")
        nothing = null(request.resp)
        return b"".join(
            [
                head + nothing + tail
                if name is None
                else b"%b$%d\r\n%b\r\n%b" % (head, len(name), name, tail)
                for name in names
            ]
        )

    def acknowledge(self, request: Request, kind: int, name: bytes | None) -> bytes:
        """As Redis writes it to this client now: channels and patterns are counted together."""
        channels, patterns, shards = self.joined
        count = len(shards) if kind == SHARD else len(channels) + len(patterns)
        if name is None:
            return b"%b%b:%d\r\n" % (request.head, null(request.resp), count)
        return b"%b$%d\r\n%b\r\n:%d\r\n" % (request.head, len(name), name, count)
