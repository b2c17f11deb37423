"""Imitated origins and callers of HTTP/1.1: every request and every body says whose it is.

An `Ask` is one request with what its origin shall do with it, so both ends know what they must see. An
`Origin` is the far end of one upstream connection, a `Caller` one client. What goes to another request, comes
twice, is cut and passes for whole, or comes out of turn is seen by one of them.
"""

from __future__ import annotations

from random import Random

from tests.fakes import Peer, Stage
from tests.plays import sends_part

NOTHING, LENGTH, CHUNKS, TO_END = range(4)  # how a body is framed
BODILESS = (204, 304)


def pattern(name: str, size: int) -> bytes:
    unit = b"%b;" % name.encode()
    return (unit * (size // len(unit) + 1))[:size]


def chunked(data: bytes, random: Random) -> bytes:
    out = b""
    while data:
        size = random.choice((1, 20, 5000, 100_000)) if len(data) < 5000 else random.choice((4000, 100_000))
        part, data = data[:size], data[size:]
        out += b"%x%b\r\n%b\r\n" % (len(part), random.choice((b"", b"", b";a=b")), part)
    return out + random.choice((b"0\r\n\r\n", b"0\r\nX-Trailer: t\r\n\r\n"))


class Body:
    """One that is coming in: `data` so far, `rest`: what came behind its end."""

    def __init__(self, framing: int, length: int = 0) -> None:
        self.data = bytearray()
        self.rest = b""
        self.done = framing == NOTHING or (framing == LENGTH and not length)
        self.framing, self._length = framing, length
        self._kept = b""

    def feed(self, data: bytes) -> None:
        if self.done:
            self.rest += data
        elif self.framing == CHUNKS:
            self._kept += data
            self._unchunk()
        elif self.framing == TO_END:
            self.data += data
        else:
            missing = self._length - len(self.data)
            self.data += data[:missing]
            self.rest = data[missing:]
            self.done = len(self.data) == self._length

    def _unchunk(self) -> None:
        kept, pos = self._kept, 0
        while (end := kept.find(b"\r\n", pos)) >= 0:
            size = int(kept[pos:end].partition(b";")[0], 16)
            if not size:
                last = kept.find(b"\r\n\r\n", pos)
                if last >= 0:
                    self.done, self.rest = True, kept[last + 4 :]
                break
            if len(kept) < end + 4 + size:
                break
            self.data += kept[end + 2 : end + 2 + size]
            pos = end + 4 + size
            assert kept[pos - 2 : pos] == b"\r\n", kept[pos - 20 : pos]
        self._kept = kept[pos:]


def fields_of(head: bytes) -> dict[bytes, bytes]:
    pairs = [line.partition(b": ")[::2] for line in head.split(b"\r\n")[1:] if line]
    assert len({name.lower() for name, _ in pairs}) == len(pairs), head
    return {name.lower(): value for name, value in pairs}


class Ask:
    """One request, and what its origin shall do with it."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.method = method = random.choice(("GET", "GET", "HEAD", "POST", "POST", "PUT"))
        self.old = random.random() < 0.1  # HTTP/1.0
        self.keep = random.random() < (0.5 if self.old else 0.93)
        self.switches = method == "GET" and not self.old and random.random() < 0.08
        self.is_bad = random.random() < 0.01
        # the request's body
        size = random.choice((0, 1, 50, 50, 3000, 3000, 70_000, 150_000)) if method[0] == "P" else 0
        self.body = pattern(name, size)
        self.framing = LENGTH if self.old or random.random() < 0.6 else CHUNKS
        if method[0] != "P":
            self.framing = NOTHING
        self.expects = self.framing != NOTHING and size > 0 and not self.old and random.random() < 0.2
        self.breaks = self.framing == CHUNKS and size > 0 and random.random() < 0.05  # a chunk that is none
        # the reply
        self.status = random.choice((200, 200, 200, 200, 404, 500, 204, 304))
        self.reply_framing = random.choice((LENGTH, LENGTH, LENGTH, CHUNKS, CHUNKS, TO_END))
        self.reply = pattern("re " + name, random.choice((0, 1, 200, 200, 200, 5000, 100_000, 300_000)))
        self.interim = random.choice((0, 0, 0, 0, 1, 2))
        self.is_early = size > 0 and random.random() < 0.15
        self.ends = random.random() < 0.1  # the origin says close
        self.goes_on = random.random() < 0.7  # it says 100 Continue
        # what became of it
        self.begun = 0  # on so many connections
        self.served = 0  # whole, on so many
        self.heard = False  # a byte of a reply was sent
        self.was_first = False  # on its connection
        self.cut = False  # its origin closed in the middle of a body that ends so
        self.opaque_up = self.opaque_down = b""  # what either side has said after 101

    def has_body(self) -> bool:
        return self.method != "HEAD" and self.status not in BODILESS

    def head(self) -> bytes:
        lines = [
            f"{self.method} /{self.name} HTTP/1.{0 if self.old else 1}",
            "Host: h",
            f"X-Name: {self.name}",
        ]
        if self.is_bad:
            lines[1] = "Host: a b"
        if self.switches:
            lines += ["Connection: Upgrade", "Upgrade: echo"]
        elif not self.keep and not self.old:
            lines.append("Connection: close")
        elif self.keep and self.old:
            lines.append("Connection: keep-alive")
        if self.framing == LENGTH:
            lines.append(f"Content-Length: {len(self.body)}")
        elif self.framing == CHUNKS:
            lines.append("Transfer-Encoding: chunked")
        if self.expects:
            lines.append("Expect: 100-continue")
        return "\r\n".join([*lines, "", ""]).encode()

    def framed(self, random: Random) -> bytes:
        if self.breaks:
            return b"1\r\nxy\r\n"
        return chunked(self.body, random) if self.framing == CHUNKS else self.body

    def reply_bytes(self, random: Random) -> bytes:
        if self.switches:
            return b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        lines = [f"HTTP/1.1 {self.status} Said", f"X-Name: {self.name}"]
        body = b""
        if self.status == 204:
            pass
        elif self.reply_framing == LENGTH:
            lines.append(f"Content-Length: {len(self.reply)}")
            body = self.reply
        elif self.reply_framing == CHUNKS:
            lines.append("Transfer-Encoding: chunked")
            body = chunked(self.reply, random)
        else:
            body = self.reply
        if self.ends:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode()
        return head + (body if self.has_body() else b"")

    def ends_origin(self) -> bool:
        return self.ends or (self.has_body() and self.reply_framing == TO_END)


class Origin:
    """The far end of one upstream connection."""

    def __init__(
        self,
        peer: Peer,
        asks: dict[str, Ask],
        random: Random,
        *,
        chokes: bool = False,
        unsaid: bool = False,
    ) -> None:
        self.peer = peer
        self._unsaid = unsaid  # it closes after each reply, and does not say so
        self._chokes = chokes  # there are requests on whose reading it closes, each time that they come
        self.ask: Ask | None = None  # the one at hand
        self.out = b""  # of its reply, not sent yet
        self.tunnels = False
        self._asks, self._random = asks, random
        self._come = b""
        self._body = Body(NOTHING)
        self._count = 0
        self._replied = False  # all of the reply is in `out`, or gone
        self._owes_close = False

    def work(self) -> None:
        self._come += self.peer.got()
        while self._come or self.ask is not None:
            if self.tunnels:
                ask = self.ask
                assert ask is not None
                assert self._come == ask.opaque_up[: len(self._come)], f"{ask.name}: {self._come[:100]!r}"
                ask.opaque_up = ask.opaque_up[len(self._come) :]
                self._come = b""
                return
            if self.ask is None:
                if b"\r\n\r\n" not in self._come:
                    return
                self._begin()
                if self._chokes and sum(self.ask.name.encode()) % 9 == 0:
                    self.peer.closes()
                    return
            ask = self.ask
            assert ask is not None
            was_done = self._body.done
            self._body.feed(self._come)
            self._come, self._body.rest = self._body.rest, b""
            assert ask.body.startswith(self._body.data), f"{ask.name} has another's body"
            if self._body.done and not was_done:
                ask.served += 1
                assert self._body.data == ask.body, f"{ask.name} is not whole"
            if not self._replied and (self._body.done or ask.is_early):
                self._reply(ask)
            is_out = self._replied and not self.out
            if not (self._body.done and is_out) or self._owes_close:
                assert not (self._body.done and self._come) or is_out, "a request behind a request"
                return
            if ask.switches:
                self.tunnels = True
            else:
                self.ask = None

    def _begin(self) -> None:
        head, _, self._come = self._come.partition(b"\r\n\r\n")
        fields = fields_of(head)
        ask = self.ask = self._asks[fields[b"x-name"].decode()]
        assert head.split(b"\r\n")[0] == f"{ask.method} /{ask.name} HTTP/1.1".encode(), head
        assert (b"connection" in fields) == ask.switches, head
        assert fields[b"host"] == b"h", head
        assert not ask.is_bad, "a malformed request came through"
        if ask.begun:
            assert ask.method != "POST", f"{ask.name}: not idempotent, and sent again"
            assert not ask.heard, f"{ask.name}: sent again after a byte of its reply"
            assert not ask.was_first, f"{ask.name}: sent again though no connection was reused"
        ask.begun += 1
        assert ask.begun <= 2, f"{ask.name}: sent more than twice (P9)"
        ask.was_first = not self._count
        self._count += 1
        self._replied = False
        assert not self.out
        if b"content-length" in fields:
            self._body = Body(LENGTH, int(fields[b"content-length"]))
        else:
            self._body = Body(CHUNKS if b"transfer-encoding" in fields else NOTHING)
        if ask.interim:
            self.out += b"HTTP/1.1 103 Early\r\nX-Name: %b\r\n\r\n" % ask.name.encode() * ask.interim
        if b"expect" in fields and ask.goes_on and not ask.is_early:
            self.out += b"HTTP/1.1 100 Continue\r\n\r\n"

    def _reply(self, ask: Ask) -> None:
        self._replied = True
        self.out += ask.reply_bytes(self._random)
        self._owes_close = ask.ends_origin()

    def send(self, cut: float) -> None:
        end = round(len(self.out) * cut)
        data, self.out = self.out[:end], self.out[end:]
        ask = self.ask
        if data and ask is not None and self.peer.is_open and not self.peer.has_finished:
            ask.heard = True
            is_last = self._replied and not self.out and not ask.ends_origin() and not ask.switches
            if is_last and self._random.random() < 0.02:
                data += b"HTTP/1.1 200 Nobody asked\r\nContent-Length: 0\r\n\r\n"
            self.peer.sends(data)
            if is_last and self._unsaid:
                self.work()
                self.peer.closes()
        if self._owes_close and not self.out:
            self._owes_close = False
            self.peer.closes()
        self.work()

    def talks(self) -> None:
        """After 101."""
        ask = self.ask
        assert ask is not None
        data = pattern("down", self._random.choice((1, 10, 5000)))
        if self.peer.is_open and not self.peer.has_finished:
            ask.opaque_down += data
            self.peer.sends(data)

    def babbles(self) -> None:
        """Bytes that nobody asked for."""
        if not self.peer.wire.brain.load():
            self.peer.sends(b"HTTP/1.1 408 Too late\r\nContent-Length: 0\r\n\r\n")

    def is_idle(self) -> bool:
        return not self.peer.wire.brain.load()

    def leaves(self, *, rst: bool) -> None:
        self.work()
        if self.ask is not None:
            self.ask.cut = not rst
        self.peer.breaks_off() if rst else self.peer.closes()


class Caller:
    """One client: it asks anything, and knows what it must hear."""

    def __init__(self, stage: Stage, number: int, asks: dict[str, Ask], random: Random) -> None:
        self.peer = stage.client()
        self.owed: list[Ask] = []
        self.unsent = b""
        self.errors: list[bytes] = []
        self.is_over = False  # it was told that its connection ends, or ended it
        self.is_mute = False  # it has nothing to say any more, nor does it mind what it hears
        self.tunnel: Ask | None = None
        self.replies = 0
        self.was_slow = False
        self._withheld = b""  # the body behind an Expect
        self._number, self._asks, self._random = number, asks, random
        self._said = 0
        self._come = b""
        self._at: Body | None = None  # the final reply that is coming in
        self._head: tuple[bytes, dict[bytes, bytes]] = (b"", {})

    def says(self) -> None:
        random = self._random
        if self.tunnel is not None:
            data = pattern("up", random.choice((1, 10, 5000)))
            self.tunnel.opaque_up += data
            self.unsent += data
            return
        if self._withheld and not self.is_mute:
            if random.random() < 0.3:
                self.goes_on()
            return
        if self.owed and (self.owed[-1].switches or self.owed[-1].breaks or self.owed[-1].is_bad):
            return
        if self.owed and not self._keeps(self.owed[-1]):
            return
        if self.is_mute:
            return
        self._said += 1
        ask = Ask(f"{self._number}.{self._said}", random)
        self._asks[ask.name] = ask
        self.owed.append(ask)
        self.unsent += ask.head()
        if ask.expects:
            self._withheld = ask.framed(random)
        else:
            self.unsent += ask.framed(random)
            if ask.switches and random.random() < 0.3:
                ask.opaque_up = b"in a hurry"
                self.unsent += ask.opaque_up

    def _keeps(self, ask: Ask) -> bool:
        return ask.keep or ask.switches

    def goes_on(self) -> None:
        """With the body behind its Expect, if it has one."""
        self.unsent += self._withheld
        self._withheld = b""

    def sends(self, cut: float) -> None:
        self.unsent = sends_part(self.peer, self.unsent, cut)

    def hears(self) -> None:
        self._come += self.peer.got()
        while self._come and not self.is_mute:
            if self.tunnel is not None:
                ask = self.tunnel
                assert self._come == ask.opaque_down[: len(self._come)], f"{self._come[:100]!r}"
                ask.opaque_down = ask.opaque_down[len(self._come) :]
                self._come = b""
                return
            if self._at is None:
                if b"\r\n\r\n" not in self._come:
                    return
                self._on_head()
            if self._at is not None:
                self._at.feed(self._come)
                self._come = self._at.rest
                if self._at.done:
                    self._on_reply(self._at)
                elif not self._come:
                    return

    def _on_head(self) -> None:
        head, _, self._come = self._come.partition(b"\r\n\r\n")
        assert not self.is_over, f"after the end: {head[:200]!r}"
        assert self.owed, f"nobody asked for {head[:200]!r}"
        ask = self.owed[0]
        status = head[9:12]
        fields = fields_of(head)
        self._head = status, fields
        if status.startswith(b"1"):
            assert not ask.old, "1xx to a client of HTTP/1.0"
            if status == b"101":
                assert ask.switches
                self.owed.pop(0)
                self.tunnel = ask
            elif status == b"100":
                assert ask.expects
                if len(self.owed) == 1:
                    self.goes_on()
            else:
                assert fields[b"x-name"] == ask.name.encode(), head
            return
        if ask.method == "HEAD" or int(status) in BODILESS:
            self._at = Body(NOTHING)
        elif b"transfer-encoding" in fields:
            assert not ask.old, head
            self._at = Body(CHUNKS)
        elif b"content-length" in fields:
            self._at = Body(LENGTH, int(fields[b"content-length"]))
        else:
            assert ask.old, "a body that ends with the connection"
            self._at = Body(TO_END)

    def _on_reply(self, body: Body) -> None:
        ask = self.owed.pop(0)
        status, fields = self._head
        self._at = None
        self.replies += 1
        option = fields.get(b"connection", b"")
        assert option in (b"", b"close", b"keep-alive"), option
        if option == b"close" or (ask.old and option != b"keep-alive"):
            self.is_over = True
        assert self.is_over or ask.keep or ask.switches, f"{ask.name} did not want to be kept"
        if b"x-name" not in fields:
            if ask.method != "HEAD":
                assert body.data.startswith(b"muxproxy: "), body.data[:100]
            if not (status == b"400" and (ask.is_bad or ask.breaks)):
                self.errors.append(status + b" " + ask.name.encode() + b" " + body.data)
            if ask.switches or (self._withheld and not self.owed):
                self.is_mute = True  # what it would have said after 101 or 100, or has, makes no sense now
            return
        assert fields[b"x-name"] == ask.name.encode(), f"{fields[b'x-name']!r} instead of {ask.name}"
        assert int(status) == ask.status, f"{ask.name}: {status!r} instead of {ask.status}"
        wanted = ask.reply if ask.has_body() else b""
        if ask.cut and ask.reply_framing == TO_END:
            wanted = wanted[: len(body.data)]
        assert body.data == wanted, f"{ask.name}: {len(body.data)} bytes instead of {len(wanted)}"
        assert self.is_over or self.owed or not self._withheld, "answered early, and kept"

    def has_ended(self) -> bool:
        """All that there is was read, and there will be no more."""
        wire = self.peer.wire
        return (wire.eof or wire.closing) and not (wire.buffer and not wire.aborted)

    def ends(self) -> None:
        """Its connection has ended. What has no end must not pass for whole (P2)."""
        at, wire = self._at, self.peer.wire
        if self.is_mute:
            self._come = b""
        if at is not None and at.framing == TO_END and not wire.was_reset:
            at.done = True
            self._on_reply(at)
        elif at is not None:
            assert at.framing != TO_END or wire.was_reset  # lengths and chunks tell that it is cut
        elif self._come and not self._come.startswith(b"muxproxy: "):
            # (in the head of a HEAD that did not come whole nobody can see that it is one)
            assert wire.was_reset, f"{self._come[:99]!r} is cut, and was not reset"
        self.peer.closes()
