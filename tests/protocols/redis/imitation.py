"""A Redis of a few commands and its clients, on the stage: every reply says what it was done with.

GET and SET answer `<word>@<db>/<RESP version>/<user>`, words are one client's alone, and a client knows what
it must get. So whatever goes to another client, db, version, user or transaction is seen in the reply itself.
"""

from __future__ import annotations

from random import Random

from muxproxy.protocols.redis.resp.grammar import arguments, multibulk
from tests.fakes import Peer, Stage
from tests.plays import sends_part
from tests.system.redis.wire import extent

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
RANGE = b"-ERR DB index is out of range\r\n"
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


def value(word: bytes, db: int, resp: int, user: bytes) -> bytes:
    """In many forms, but always the same for a word."""
    said = b"%b@%d/%d/%b" % (word, db, resp, user)
    form = word[-1] % 5
    if form == 4 and word[-2] % 5 == 4:
        said += b"." * 200_000  # more than a framer keeps until it is whole
    if form == 0:
        return b"+%b\r\n" % said
    if form == 1:
        return b"*3\r\n$-1\r\n$%d\r\n%b\r\n*1\r\n:7\r\n" % (len(said), said)
    if form == 2:
        said = b"\r\n$3\r\n%b\r\n" % said
    return b"$%d\r\n%b\r\n" % (len(said), said)


def hello(resp: int) -> bytes:
    return b"%0\r\n" if resp == 3 else b"*0\r\n"


class Server:
    """The far end of one upstream connection. `keeps_silent`: as Redis 7.2 to 8.x and Valkey 8 it does not
    answer a failing AUTH while it owes replies."""

    def __init__(self, peer: Peer, *, keeps_silent: bool = False) -> None:
        self.peer = peer
        self.keeps_silent = keeps_silent
        self.replies: list[bytes] = []  # not sent yet
        self.blocks = False  # in BLPOP, whose reply is the last of `replies`
        self._come = b""
        self._on_its_way = b""  # of replies that were sent
        self._reset()

    def _reset(self) -> bytes:
        self.db, self.resp, self.user, self.is_watching = 0, 2, b"default", False
        self.queued: list[list[bytes]] | None = None  # in MULTI
        return b"+RESET\r\n"

    def work(self) -> None:
        self._come += self.peer.got()
        while self._come and not self.blocks and (end := extent(self._come)) > 0:
            words = arguments(self._come[:end])
            self._come = self._come[end:]
            reply = self._on_command(words[0], words)
            if not (reply == WRONGPASS and self.keeps_silent and (self.replies or self._on_its_way)):
                self.replies.append(reply)

    def send(self, number: int, cut: float = 1.0) -> None:
        """So many replies; `cut`, a share: of the bytes that are on their way, those arrive now."""
        self._on_its_way += b"".join(self.replies[:number])
        del self.replies[:number]
        self._on_its_way = sends_part(self.peer, self._on_its_way, cut)

    def _on_command(self, name: bytes, words: list[bytes]) -> bytes:
        if name == b"RESET":
            return self._reset()
        if name == b"MULTI":
            self.queued = []
            return OK
        if name in (b"EXEC", b"DISCARD"):
            queued, self.queued, self.is_watching = self.queued, None, False
            if queued is None or name == b"DISCARD":
                return OK if queued is not None else b"-ERR without MULTI\r\n"
            return b"*%d\r\n" % len(queued) + b"".join(self._do(each[0], each) for each in queued)
        if self.queued is not None:
            self.queued.append(words)
            return QUEUED
        return self._do(name, words)

    def _do(self, name: bytes, words: list[bytes]) -> bytes:
        if name == b"SELECT":
            if words[1] == b"9":
                return RANGE
            self.db = int(words[1])
        elif name == b"HELLO":
            if b"AUTH" in words and (no := self._auth(*words[3:5])) != OK:
                return no
            self.resp = int(words[1])
            return hello(self.resp)
        elif name == b"AUTH":
            return self._auth(*words[1:])
        elif name == b"BLPOP":
            self.blocks = True
            return b"*-1\r\n"
        elif name == b"ECHO":
            return b"$%d\r\n%b\r\n" % (len(words[1]), words[1])
        elif name in (b"GET", b"SET"):
            return value(words[1], self.db, self.resp, self.user)
        elif name in (b"WATCH", b"UNWATCH"):
            self.is_watching = name == b"WATCH"
        return OK

    def _auth(self, user: bytes, password: bytes) -> bytes:
        if password != b"of " + user:
            return WRONGPASS
        self.user = user
        return OK


class Asker:
    """One client: it says anything, and knows what it must hear. `users`: it may be several. `mutes`: it may
    say CLIENT REPLY; then it must never be refused, for it would not hear that."""

    def __init__(
        self, stage: Stage, number: int, random: Random, *, users: bool = False, mutes: bool = False
    ) -> None:
        self._users = users
        self._mutes = mutes
        self._is_off = self._skips = False
        self.peer = stage.client()
        self.unsent = b""
        self._number = number
        self._random = random
        self._said = 0
        self._db, self._resp, self._user = 0, 2, b"default"
        self._queued: list[bytes] | None = None
        self._expected: list[bytes] = []
        self._come = b""
        self.was_refused = False

    def says(self) -> None:
        self._in_multi() if self._queued is not None else self._outside()

    def _add(self, reply: bytes, *words: bytes) -> None:
        self.unsent += multibulk(list(words))
        if not (self._is_off or self._skips):
            self._expected.append(reply)
        self._skips = False

    def _word(self) -> tuple[bytes, bytes]:
        self._said += 1
        word = b"%d.%d" % (self._number, self._said)
        return word, value(word, self._db, self._resp, self._user)

    def _in_multi(self) -> None:
        queued = self._queued
        assert queued is not None
        what = self._random.randrange(14)
        if what < 9:
            word, reply = self._word()
            queued.append(reply)
            self._add(QUEUED, b"GET", word)
            return
        self._queued = None
        if what < 12:
            self._add(b"*%d\r\n" % len(queued) + b"".join(queued), b"EXEC")
        elif what < 13:
            self._add(OK, b"DISCARD")
        else:
            self._resets()

    def _resets(self) -> None:
        self._db, self._resp, self._user = 0, 2, b"default"
        self._is_off = self._skips = False
        self._add(b"+RESET\r\n", b"RESET")

    def _outside(self) -> None:
        random = self._random
        what = random.randrange(16 + 2 * self._users + 2 * self._mutes)
        if what >= 16:
            self._authenticates() if self._users and what < 18 else self._mutes_itself()
        elif what < 5:
            for _ in range(random.choice((1, 1, 3, 40))):
                word, reply = self._word()
                self._add(reply, random.choice((b"GET", b"SET")), word)
        elif what < 7:
            self._db = random.randrange(3)
            self._add(OK, b"SELECT", b"%d" % self._db)
        elif what < 8:
            self._resp = random.choice((2, 3))
            self._add(hello(self._resp), b"HELLO", b"%d" % self._resp)
        elif what < 10:
            self._queued = []
            self._add(OK, b"MULTI")
        elif what < 12:
            self._add(OK, *random.choice(((b"WATCH", b"x"), (b"UNWATCH",))))
        elif what < 13:
            self._add(b"*-1\r\n", b"BLPOP", b"q", b"0")
        elif what < 14:
            self._resets()
        elif what < 15:
            self._add(RANGE, b"SELECT", b"9")
        else:
            word, reply = self._word()
            self._add(reply, b"SET", word, b"v" * 100_000)

    def _authenticates(self) -> None:
        random = self._random
        user = random.choice((b"ann", b"bob"))
        is_right = random.random() < 0.7
        who = (user, b"of " + user if is_right else b"wrong")
        resp = random.choice((0, 2, 3))
        if is_right:
            self._user, self._resp = user, resp or self._resp
        if resp:
            self._add(hello(resp) if is_right else WRONGPASS, b"HELLO", b"%d" % resp, b"AUTH", *who)
        else:
            self._add(OK if is_right else WRONGPASS, b"AUTH", *who)

    def _mutes_itself(self) -> None:
        mode = self._random.choice((b"ON", b"ON", b"OFF", b"SKIP"))
        self.unsent += multibulk([b"CLIENT", b"REPLY", mode])
        if mode == b"ON":
            self._expected.append(OK)
            self._is_off = self._skips = False
        elif mode == b"OFF":
            self._is_off, self._skips = True, False
        else:
            self._skips = not self._is_off

    def hears(self) -> None:
        self._come += self.peer.got()
        while self._come and (end := extent(self._come)) > 0 and not self.was_refused:
            reply, self._come = self._come[:end], self._come[end:]
            if reply.startswith((b"-ERR muxproxy", b"-OVERLOADED muxproxy")):
                self.was_refused = True  # what it is in from here on, it would have to find out
            else:
                assert self._expected, f"nobody asked for {reply[:200]!r}"
                expected = self._expected.pop(0)
                assert reply == expected, f"{reply[:200]!r} instead of {expected[:200]!r}"
