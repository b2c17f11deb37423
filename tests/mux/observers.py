"""The two ends of the machine in test_machine.py, who judge the heart by what they see on the wire and
nothing else.

A `ServerEnd` reads the requests that one upstream connection brings, a `ClientEnd` the replies that one
client gets. Both take lines apart by themselves: no framer of tests/toys.py, no ledger of the heart. A
request's name says whose it is and which (`c3r7`), its body is made from its name, and so is the reply's.
"""

from __future__ import annotations

from collections.abc import Iterator

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer
from tests.toys import TAG

# What the machines' requests may say beside their names, as often as it stands here.
WORDS: dict[Sharing, tuple[str, ...]] = {
    Sharing.EXCLUSIVE: ("", "", "idem", "idem", "eager", "oneway", "bye", "pin", "!", "?"),
    Sharing.ORDERED: (
        "",
        "!",
        "idem",
        "block=2",
        "oneway",
        "bye",
        "local",
        "db=1",
        "db=2",
        "anywhere",
        "pin",
        "unpin",
        "",
    ),
    Sharing.TAGGED: ("", "", "idem", "idem", "oneway", "bye", "local", "!"),
}


def body_of(name: str, size: int) -> bytes:
    return (name.encode() + b".") * (size // (len(name) + 1) + 1) if size else b""


def message(name: str, words: tuple[str, ...], size: int, tag: int, sharing: Sharing) -> bytes:
    announced = (f"+{size}",) if size else ()
    line = " ".join((name, *words, *announced)).encode() + b"\n"
    if sharing is Sharing.TAGGED:
        line = b"%08d " % tag + line
    return line + body_of(name, size)[:size]


class Request:
    def __init__(self, name: str, words: tuple[str, ...], tag: int) -> None:
        self.name = name
        self.words = words
        self.tag = tag
        self.is_whole = False
        self.database = "db=0"  # the state of the connection it came on, when it came

    @property
    def client(self) -> int:
        return int(self.name[1:].partition("r")[0])

    @property
    def serial(self) -> int:
        return int(self.name.partition("r")[2])


class Reader:
    """Messages out of a stream that grows: yields (words, tag) when a line is in, and again when its body
    is."""

    def __init__(self, sharing: Sharing) -> None:
        self._tagged = sharing is Sharing.TAGGED
        self.buffer = b""
        self.opaque = False
        self.until_close = False
        self._name = ""
        self._body = b""  # still to come, as it must be
        self._now: tuple[tuple[str, ...], int] = ((), 0)

    @property
    def is_midway(self) -> bool:
        return bool(self.buffer or self._body or self.until_close)

    def read(self, data: bytes) -> Iterator[tuple[tuple[str, ...], int, bool]]:
        self.buffer += data
        while self.buffer and not self.opaque:
            if self._body:
                part = self.buffer[: len(self._body)]
                assert self._body.startswith(part), f"P6: body of {self._name}: {part!r}, not {self._body!r}"
                self._body, self.buffer = self._body[len(part) :], self.buffer[len(part) :]
                if not self._body:
                    yield (*self._now, True)
                continue
            line, found, rest = self.buffer.partition(b"\n")
            if not found:
                return
            self.buffer = rest
            yield from self._on_line(line)

    def _on_line(self, line: bytes) -> Iterator[tuple[tuple[str, ...], int, bool]]:
        tag = 0
        if self._tagged:
            tag, line = int(line[:TAG]), line[TAG:]
        words = tuple(line.decode().split(" "))
        size = next((int(word[1:]) for word in words if word[:1] == "+"), 0)
        self._name, self._now = words[0], (words, tag)
        self._body = body_of(words[0], size)[:size]
        self.until_close = "~" in words
        yield words, tag, False
        if not self._body and not self.until_close:
            yield words, tag, True


class ServerEnd:
    """One upstream connection as its server sees it. `pending`: requests that are in and not answered,
    oldest first."""

    def __init__(self, peer: Peer, sharing: Sharing) -> None:
        self.peer = peer
        self.pending: list[Request] = []
        self.rest = b""  # of a reply that has been sent in part
        self.database = "db=0"
        self.serving: Request | None = None  # whose reply is being sent
        self.owner: int | None = None  # the client of a transaction, from `pin` to the reply of `unpin`
        self._newest = Request("", (), 0)
        self._reader = Reader(sharing)
        self._writes = 0

    @property
    def is_opaque(self) -> bool:
        return self._reader.opaque

    def arrivals(self) -> list[Request]:
        """What came with the next write, whether this server reads it or not: P9 counts what was handed
        over."""
        data = self.peer.wire.writes[self._writes]
        self._writes += 1
        found = []
        for words, tag, whole in self._reader.read(data):
            if whole:
                self._newest.is_whole = True
                continue
            request = self._newest = Request(words[0], words, tag)
            if words[0] in ("alive?", "lives"):  # heartbeats, which are no requests
                continue
            if words[0] == "select":
                self.database = words[1]
            elif words[0] == "reset":
                self.database, self.owner = "db=0", None
            else:
                request.database = self.database
                found.append(request)
            if "oneway" not in words:
                self.pending.append(request)
        return found

    def go_opaque(self) -> None:
        self._reader.opaque = True


class ClientEnd:
    """One client. `asked`: its requests as (name, tag) in their order, `answered`: how many replies have
    begun."""

    def __init__(self, number: int, peer: Peer, sharing: Sharing) -> None:
        self.number = number
        self.peer = peer
        self.sharing = sharing
        self.asked: list[str] = []
        self.by_tag: dict[int, str] = {}
        self.silent: set[str] = set()  # one-way requests
        self.answered = 0
        self.unsent = b""  # the rest of what it has begun to send
        self.finished = False  # it will send no more
        self.has_left = False
        self.database = "db=0"
        self._writes = 0
        self._reader = Reader(sharing)

    def check(self) -> None:
        """P2: its own replies, in order, or errors."""
        writes = self.peer.wire.writes  # taken by the client or not: what was written is decided
        data, self._writes = b"".join(writes[self._writes :]), len(writes)
        for words, tag, whole in self._reader.read(data):
            if whole or "100" in words:
                continue
            name = words[0]
            if self.sharing is Sharing.TAGGED:
                expected = self.by_tag.pop(tag, None) if tag else None
                assert expected or name == "no", (
                    f"P2: client {self.number} got {words} under tag {tag}: never asked"
                )
            else:
                while self.answered < len(self.asked) and self.asked[self.answered] in self.silent:
                    self.answered += 1
                expected = self.asked[self.answered] if self.answered < len(self.asked) else None
                self.answered += 1
                if name == "no" and expected in self.silent | {None}:
                    continue
            assert name in ("no", expected), f"P2: client {self.number} got {words} for {expected}"
            if "101" in words:
                self._reader.opaque = True
        wire = self.peer.wire
        # bytes in a tunnel have no end to miss
        is_midway = self._reader.until_close and not self._reader.opaque  # what has a length tells by itself
        is_cut = wire.kept_back or (is_midway and not wire.buffer)
        if wire.closing and not self.has_left and is_cut:
            assert wire.was_reset, f"P2: a cut reply passes for a whole one: client {self.number}"

    def unanswered(self) -> list[str]:
        return list(self.by_tag.values()) if self.sharing is Sharing.TAGGED else self.asked[self.answered :]

    @property
    def is_opaque(self) -> bool:
        return self._reader.opaque
