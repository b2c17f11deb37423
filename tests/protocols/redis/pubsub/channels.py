"""Channels beside what imitation.py has: links that are subscribed, and listeners that know what must come.

A message's text is said once in a play. A listener must get each one that was published while it was
acknowledged and had not asked to leave, in order, once, unless a link was lost with it; it may get one that
was published around its request; and it must get none before an acknowledgement, nor after the next one.
"""

from __future__ import annotations

from random import Random

from tests.fakes import Peer, Stage
from tests.protocols.redis.imitation import OK, Asker, Server, hello
from tests.system.redis.wire import extent

NAMES = (b"c1", b"c2", b"d1", b"c*", b"d?", b"s1", b"no")  # `no` is refused
CHANNEL, PATTERN, SHARD = range(3)
VERBS = {
    b"subscribe": (CHANNEL, True),
    b"psubscribe": (PATTERN, True),
    b"ssubscribe": (SHARD, True),
    b"unsubscribe": (CHANNEL, False),
    b"punsubscribe": (PATTERN, False),
    b"sunsubscribe": (SHARD, False),
}
MESSAGES = {b"message": CHANNEL, b"pmessage": PATTERN, b"smessage": SHARD}
NOPERM = b"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n"
A_NUMBER = b":?"
Key = tuple[int, bytes]


def bulks(mark: bytes, *words: bytes) -> bytes:
    return mark + b"%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def words_of(reply: bytes) -> list[bytes]:
    """The bulk strings of a push."""
    words, at = [], reply.find(b"\r\n") + 2
    while at < len(reply) and reply.startswith(b"$", at) and not reply.startswith(b"$-1", at):
        end = reply.find(b"\r\n", at)
        size = int(reply[at + 1 : end])
        words.append(reply[end + 2 : end + 2 + size])
        at = end + 4 + size
    return words


def acknowledged(verb: bytes, name: bytes | None, count: int, resp: int) -> bytes:
    mark, nothing = (b">", b"_\r\n") if resp == 3 else (b"*", b"$-1\r\n")
    shown = nothing if name is None else b"$%d\r\n%b\r\n" % (len(name), name)
    return b"%b3\r\n$%d\r\n%b\r\n%b:%d\r\n" % (mark, len(verb), verb, shown, count)


def matches(key: Key, kind: int, channel: bytes) -> bool:
    if key[0] == PATTERN:
        return kind == CHANNEL and key[1][:1] == channel[:1]
    return key == (kind, channel)


class Link(Server):
    """The far end of one upstream connection, of the one server that all of a play's links lead to."""

    def __init__(self, peer: Peer, broker: Broker) -> None:
        self.joined: dict[Key, None] = {}
        self.since = 0  # when it began to listen
        self.broker = broker
        super().__init__(peer)

    def _reset(self) -> bytes:
        self.joined.clear()
        return super()._reset()

    def _on_command(self, name: bytes, words: list[bytes]) -> bytes:
        verb = VERBS.get(name.lower())
        if verb is not None:
            return self._on_verb(name.lower(), *verb, words[1:])
        assert not self.joined or name == b"RESET", f"{name!r} on a connection that listens"
        return super()._on_command(name, words)

    def _on_verb(self, name: bytes, kind: int, joins: bool, names: list[bytes]) -> bytes:
        assert self.queued is None, "in MULTI"
        (channel,) = names
        if joins and channel == b"no":
            return NOPERM
        if joins:
            assert (kind, channel) not in self.joined, "subscribed twice"
            if not self.joined:
                self.since = self.broker.feeds = self.broker.feeds + 1
            self.joined[kind, channel] = None
        else:
            self.joined.pop((kind, channel), None)
        return acknowledged(name, channel, len(self.joined), self.resp)

    def _do(self, name: bytes, words: list[bytes]) -> bytes:
        if name in (b"PUBLISH", b"SPUBLISH"):
            kind = CHANNEL if name == b"PUBLISH" else SHARD
            return b":%d\r\n" % self.broker.publish(kind, words[1], words[2])
        return super()._do(name, words)

    def gets(self, key: Key, channel: bytes, text: bytes) -> None:
        mark = b">" if self.resp == 3 else b"*"
        if key[0] == PATTERN:
            self.replies.append(bulks(mark, b"pmessage", key[1], channel, text))
        else:
            self.replies.append(bulks(mark, b"smessage" if key[0] == SHARD else b"message", channel, text))


class Broker:
    """What is published, to whom, and when."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.listeners: list[Listener] = []
        self.times: dict[bytes, int] = {}  # text -> when it was published
        self.feeds = 0  # times that a link began to listen

    def publish(self, kind: int, channel: bytes, text: bytes) -> int:
        assert text not in self.times, f"{text!r} is published twice"
        now = self.times[text] = len(self.times)
        count = 0
        for link in sorted(self.links, key=lambda link: link.since):
            for key in (key for key in link.joined if matches(key, kind, channel)):
                count += 1
                link.gets(key, channel, text)
                for listener in self.listeners:
                    due = listener.joined.get(key)
                    if due is not None and listener.resp == link.resp:
                        if due and due[-1][0] == now:  # of a link that is just being given back
                            due.pop()
                        due.append((now, link))
        return count

    def forget(self, link: Link) -> None:
        """It was lost, with what was on its way."""
        self.links.remove(link)
        for listener in self.listeners:
            for key, due in listener.joined.items():
                listener.joined[key] = [each for each in due if each[1] is not link]


class Hello(bytes):
    """The reply to one: that of an empty EXEC looks the same."""


class Listener(Asker):
    """`joined`: what it was told that it listens to and has not asked to leave, and what must still come."""

    def __init__(self, stage: Stage, number: int, random: Random, broker: Broker) -> None:
        super().__init__(stage, number, random)
        self.broker = broker
        self.joined: dict[Key, list[tuple[int, Link]]] = {}
        self.heard = 0
        self._told: dict[Key, int] = {}  # what it was told that it listens to, and the last that it got
        self._asked: tuple[dict[bytes, None], ...] = ({}, {}, {})  # as the server will have it
        self._leaves = 0  # acknowledgements of leaving that it waits for
        self._watches = False
        self._stands_still = False  # it waits for a refusal
        self.resp = 2  # as heard
        if random.random() < 0.5:
            self._resp = 3
            self._add(hello(3), b"HELLO", b"3")

    # -- what it says --------------------------------------------------------------------------------

    def says(self) -> None:
        if self._stands_still and self._expected:
            return
        self._stands_still = False
        super().says()

    def _outside(self) -> None:
        random = self._random
        what = random.random()
        is_subscribed = any(self._asked)
        if what < (0.2 if is_subscribed and self._resp == 3 else 0.35):
            self._asks_for(random.choice((*VERBS, b"subscribe", b"subscribe", b"psubscribe")))
        elif is_subscribed and self._resp == 2:
            self._cannot()
        elif what < 0.5:
            self._publishes()
        elif is_subscribed or any(each.startswith((b"*3\r\n$", b">3\r\n$")) for each in self._expected):
            self._goes_on()
        else:
            super()._outside()

    def _add(self, reply: bytes, *words: bytes) -> None:
        super()._add(Hello(reply) if words[0] == b"HELLO" else reply, *words)
        if words[0] in (b"WATCH", b"UNWATCH", b"EXEC", b"DISCARD", b"RESET") and reply[:1] != b"-":
            self._watches = words[0] == b"WATCH"

    def finishes(self) -> None:
        """It gives back what it has alone."""
        if self._queued is not None:
            self._queued = None
            self._add(OK, b"DISCARD")
        if self._watches or self._stands_still:
            self._resets()

    def _asks_for(self, verb: bytes) -> None:
        if self._watches:  # or some could have all that max_pinned allows, and wait for one more
            self._add(OK, b"UNWATCH")
        kind, joins = VERBS[verb]
        names = [self._random.choice(NAMES[:6]) for _ in range(self._random.choice((0, 1, 2, 3)))]
        mine = self._asked[kind]
        if joins and self._random.random() < 0.05:
            self._stands_still = True
            self._add(NOPERM, verb, *names, b"no")
            return
        if joins and not names:
            names = [b"c1"]
        replies = []
        for name in names or ([] if joins else list(mine)):
            if joins:
                mine[name] = None
            else:
                mine.pop(name, None)
                self.joined.pop((kind, name), None)
            replies.append(acknowledged(verb, name, self._count(kind), self._resp))
        if not replies:
            replies.append(acknowledged(verb, None, self._count(kind), self._resp))
        if not joins:
            self._leaves += len(replies)
        self._add(replies[0], verb, *names)
        self._expected += replies[1:]

    def _count(self, kind: int) -> int:
        channels, patterns, shards = self._asked
        return len(shards) if kind == SHARD else len(channels) + len(patterns)

    def _cannot(self) -> None:
        """RESP2, subscribed: there is little that it may say."""
        what = self._random.randrange(4)
        if what == 0:
            self._add(bulks(b"*", b"pong", b""), b"PING")
        elif what == 1:
            self._resets()
        else:
            name = self._random.choice((b"GET", b"SET", b"SELECT", b"EXEC"))
            why = b"only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            why = b"Can't execute '%b': %b\r\n" % (name.lower(), why)
            if name == b"EXEC":
                self._add(b"-EXECABORT Transaction discarded because of: " + why, name)
            else:
                self._add(b"-ERR " + why, name, *[b"1.1"] * (2 if name == b"SET" else 1))

    def _publishes(self) -> None:
        self._said += 1
        text = b"%d:%d" % (self._number, self._said)
        shard = self._random.random() < 0.2
        channel = b"s1" if shard else self._random.choice((b"c1", b"c2", b"d1", b"nobody"))
        self._add(A_NUMBER, b"SPUBLISH" if shard else b"PUBLISH", channel, text)

    def _goes_on(self) -> None:
        """RESP3, subscribed, or about to be: all as before, but that the version stays."""
        random = self._random
        what = random.randrange(8)
        if what < 3 or (what == 7 and random.random() < 0.7):
            if random.random() < 0.6:
                self._said += 110 - self._said % 100  # the next one's value is large, and comes in parts
            for _ in range(random.choice((1, 1, 3))):
                word, reply = self._word()
                self._add(reply, b"GET", word)
        elif what == 3:
            self._db = random.randrange(3)
            self._add(OK, b"SELECT", b"%d" % self._db)
        elif what == 4:
            self._queued = []
            self._add(OK, b"MULTI")
        elif what == 5:
            self._add(b"*-1\r\n", b"BLPOP", b"q", b"0")
        elif what == 6:
            self._add(hello(self._resp), b"HELLO", b"%d" % self._resp)
        else:
            self._resets()

    def _resets(self) -> None:
        for names in self._asked:
            names.clear()
        self.joined.clear()
        self._leaves += 1
        super()._resets()

    # -- what it hears -------------------------------------------------------------------------------

    def hears(self) -> None:
        self._come += self.peer.got()
        while self._come and (end := extent(self._come)) > 0 and not self.was_refused:
            reply, self._come = self._come[:end], self._come[end:]
            words = words_of(reply) if reply[:1] in b"*>" else []
            if reply.startswith((b"-ERR muxproxy", b"-OVERLOADED muxproxy")):
                self.was_refused = True
            elif words and words[0] in MESSAGES:
                self._on_message(MESSAGES[words[0]], words[1], words[-1])
            else:
                self._on_reply(reply, words)

    def _on_reply(self, reply: bytes, words: list[bytes]) -> None:
        assert self._expected, f"nobody asked for {reply[:200]!r}"
        expected = self._expected.pop(0)
        if expected == A_NUMBER:
            assert reply.startswith(b":"), reply
            return
        assert reply == expected, f"{reply[:200]!r} instead of {expected[:200]!r}"
        if reply == b"+RESET\r\n":
            self._told.clear()
            self.resp = 2
            self._leaves -= 1
        elif isinstance(expected, Hello):
            self.resp = 3 if reply == hello(3) else 2
        elif words and words[0] in VERBS:
            kind, joins = VERBS[words[0]]
            if joins:
                self._told.setdefault((kind, words[1]), -1)
            else:
                self._leaves -= 1
                self._told.pop((kind, words[-1]), None)
        if not self._leaves:
            for key in self._told:
                self.joined.setdefault(key, [])

    def _on_message(self, kind: int, name: bytes, text: bytes) -> None:
        key, when = (kind, name), self.broker.times[text]
        assert key in self._told, f"{text!r} of {name!r}, which it does not listen to"
        assert when > self._told[key], f"{text!r} of {name!r} came twice, or too late"
        self._told[key] = when
        self.heard += 1
        due = self.joined.get(key)
        if due and due[0][0] <= when:
            assert due.pop(0)[0] == when, f"it missed what came before {text!r}"
