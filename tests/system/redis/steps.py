"""What one client of the torture asks, and what the answers must be.

A script is a generator: it yields batches, each sent in one write, gets the replies, and ends in the state
`set_up` made, or raises LostError. A write whose fate is not known (refused, cut) may have run, and may even
run later; what may then be read is wider, and never anybody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import Any, NamedTuple

import hiredis

from tests.system.redis.wire import command as encode

Check = Callable[[Any], bool]
_NAMES = 8  # keys of each kind that a client has
USERS = (b"alice", b"bob")
GUEST = b"carol"  # who anybody is for a while, by one of two passwords, of which one is good at a time
PASSWORDS = (b"one", b"two")


class LostError(Exception):
    """The state of the connection is not known any more: open another."""


class Command(NamedTuple):
    data: bytes
    check: Check
    unsure: Callable[[], None]  # its fate is not known


class Batch(NamedTuple):
    commands: list[Command]
    exchanges: int  # as muxproxy counts
    reads_after: bool = False  # nothing is read before all is written


Script = Generator[Batch, list[Any], None]


def nothing() -> None:
    pass


def is_ok(reply: Any) -> bool:
    return bool(reply == b"OK")


def is_queued(reply: Any) -> bool:
    return bool(reply == b"QUEUED")


class Keeper:
    """What one client knows of its own data, over all its connections."""

    def __init__(self, number: int, *, users: bool = False) -> None:
        self.number = number
        self.user = USERS[number // 8 % 2] if users else b""  # its password is its name
        self.db = number % 4
        self.resp = 2 + number // 4 % 2
        self.group = number // 8  # with three others in the other dbs: the same key names
        self.name = b"client-%d" % number
        self.clean = True  # nothing of this batch's script was refused so far
        self.pinned = False  # in the middle of MULTI or WATCH, whose end is its connection's, or the guest
        self.serial = 0
        self.confirmed: dict[bytes, int] = {}  # key (and field) -> the write that was acknowledged last
        self.maybe: dict[bytes, set[int]] = {}  # -> writes of unknown fate
        self.counted: dict[bytes, int] = {}  # counter -> what INCR said last
        self.unsure: dict[bytes, int] = {}  # counter -> INCRs of unknown fate

    def key(self, kind: bytes, number: int) -> bytes:
        return b"%b:%d:%d:%d" % (kind, self.group, self.resp, number)

    def fresh(self, kind: bytes) -> bytes:
        """A key that nobody else has used nor will."""
        self.serial += 1
        return b"%b:%d:%d" % (kind, self.number, self.serial)

    def value(self, key: bytes, db: int = -1) -> tuple[int, bytes]:
        self.serial += 1
        return self.serial, b"%d/%d/%b/%d" % (self.number, self.db if db < 0 else db, key, self.serial)

    def is_mine(self, key: bytes, value: Any) -> bool:
        """A value that may be under the key."""
        if value is None:
            return key not in self.confirmed
        if not isinstance(value, bytes):
            return False
        number, db, name, serial = value.split(b"/")
        if (int(number), int(db), name) != (self.number, self.db, key):
            return False
        return int(serial) >= self.confirmed.get(key, 0) or int(serial) in self.maybe.get(key, ())

    # Commands

    def set(self, key: bytes) -> Command:
        serial, value = self.value(key)
        return Command(encode("SET", key, value), self.confirm(key, serial, is_ok), self.doubt(key, serial))

    def hset(self, name: bytes, field: int) -> Command:
        key = b"%b.%d" % (name, field)
        serial, value = self.value(key)
        check = self.confirm(key, serial, lambda reply: reply in (0, 1))
        return Command(encode("HSET", name, field, value), check, self.doubt(key, serial))

    def confirm(self, key: bytes, serial: int, check: Check) -> Check:
        def confirmed(reply: Any) -> bool:
            self.confirmed[key] = serial
            return check(reply)

        return confirmed

    def doubt(self, key: bytes, serial: int) -> Callable[[], None]:
        return lambda: self.maybe.setdefault(key, set()).add(serial)

    def get(self, key: bytes) -> Command:
        return Command(encode("GET", key), lambda reply: self.is_mine(key, reply), nothing)

    def mget(self, *keys: bytes) -> Command:
        def check(reply: Any) -> bool:
            return len(reply) == len(keys) and all(map(self.is_mine, keys, reply))

        return Command(encode("MGET", *keys), check, nothing)

    def hgetall(self, name: bytes) -> Command:
        """A map in RESP3, an array in RESP2: the version shows."""

        def check(reply: Any) -> bool:
            if isinstance(reply, dict) != (self.resp == 3):
                return False
            pairs = reply.items() if self.resp == 3 else zip(reply[::2], reply[1::2], strict=True)
            return all(self.is_mine(b"%b.%b" % (name, field), value) for field, value in pairs)

        return Command(encode("HGETALL", name), check, nothing)

    def incr(self, key: bytes) -> Command:
        def check(reply: Any) -> bool:
            steps = reply - self.counted.get(key, 0) - 1 if isinstance(reply, int) else -1
            if not 0 <= steps <= self.unsure.get(key, 0):
                return False
            self.counted[key] = reply
            self.unsure[key] = self.unsure.get(key, 0) - steps
            return True

        def unsure() -> None:
            self.unsure[key] = self.unsure.get(key, 0) + 1

        return Command(encode("INCR", key), check, unsure)

    def zscore(self, key: bytes) -> list[Command]:
        """A double in RESP3, a string in RESP2."""
        score = self.number + 0.5
        wanted = score if self.resp == 3 else b"%.1f" % score

        def check(reply: Any) -> bool:
            return bool(reply == wanted) or (reply is None and not self.clean)

        return [
            self.exact(("ZADD", key, score, "member"), None),
            Command(encode("ZSCORE", key, "member"), check, nothing),
        ]

    def exact(self, words: tuple[Any, ...], wanted: Any) -> Command:
        """`wanted`, or anything (None)."""
        return Command(encode(*words), lambda reply: wanted is None or reply == wanted, nothing)

    def if_clean(self, words: tuple[Any, ...], wanted: Any) -> Command:
        """`wanted`, unless something before it in its script was refused."""
        return Command(encode(*words), lambda reply: not self.clean or reply == wanted, nothing)

    def fails(self, words: tuple[Any, ...], text: str) -> Command:
        def check(reply: Any) -> bool:
            return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(text)

        return Command(encode(*words), check, nothing)


def set_up(keeper: Keeper) -> Script:
    keeper.pinned = False
    who = ("AUTH", keeper.user, keeper.user) if keeper.user else ()
    commands = [keeper.exact(("HELLO", keeper.resp, *who), None)]
    wanted = keeper.if_clean if keeper.user else keeper.exact  # who is nobody may do little
    commands.append(wanted(("SELECT", keeper.db), b"OK"))
    commands.append(wanted(("CLIENT", "SETNAME", keeper.name), b"OK"))
    yield from surely(keeper, commands)


def surely(keeper: Keeper, commands: list[Command], *, whole: bool = False) -> Script:
    """None of them may be refused: what follows depends on them."""
    keeper.clean = True
    yield Batch(commands, 1 if whole else len(commands))
    if not keeper.clean:
        raise LostError


def pick(keeper: Keeper, random: Random) -> Script:
    keeper.clean, keeper.pinned = True, False
    choice = random.random()
    for script, share in _SHARES + _USERS_SHARES if keeper.user else _SHARES:
        choice -= share
        if choice < 0:
            return script(keeper, random)
    return pipeline(keeper, random)


def pipeline(keeper: Keeper, random: Random) -> Script:
    """1 to 16 commands that need no state but db and RESP version."""
    commands: list[Command] = []
    for _ in range(random.choice((1, 1, 1, 2, 4, 8, 16))):
        number, other = random.randrange(_NAMES), random.randrange(_NAMES)
        key = keeper.key(b"s", number)
        match random.randrange(12):
            case 0 | 1 | 2:
                commands.append(keeper.set(key))
            case 3 | 4 | 5:
                commands.append(keeper.get(key))
            case 6:
                commands.append(keeper.incr(keeper.key(b"n", number)))
            case 7:
                commands.append(keeper.hset(keeper.key(b"h", number), other))
            case 8:
                commands.append(keeper.hgetall(keeper.key(b"h", number)))
            case 9:
                commands.append(keeper.mget(key, keeper.key(b"s", other)))
            case 10:
                commands += keeper.zscore(keeper.key(b"z", number))
            case _:
                commands.append(little(keeper, random))
    yield Batch(commands, len(commands))


def whole_pipeline(keeper: Keeper, random: Random) -> Script:
    """Some hundred, of which no reply is read before all are written: more than the sockets take."""
    commands: list[Command] = []
    for _ in range(random.choice((100, 200, 400))):
        number = random.randrange(_NAMES)
        match random.randrange(6):
            case 0:
                commands.append(keeper.set(keeper.key(b"s", number)))
            case 1 | 2:
                commands.append(keeper.get(keeper.key(b"s", number)))
            case 3:
                commands.append(keeper.incr(keeper.key(b"n", number)))
            case _:
                token = b"%d/%d" % (keeper.number, random.getrandbits(60))
                words = ("EVAL", "return string.rep(ARGV[1], 200)", 0, token)
                commands.append(keeper.exact(words, token * 200))
    yield Batch(commands, len(commands), reads_after=True)


def little(keeper: Keeper, random: Random) -> Command:
    token = b"%d/%d" % (keeper.number, random.getrandbits(60))
    if keeper.user and random.random() < 0.5:
        return keeper.exact(("ACL", "WHOAMI"), keeper.user)
    match random.randrange(6):
        case 0:
            return keeper.exact(("ECHO", token), token)
        case 1:
            return keeper.exact(("PING", token), token)
        case 2:
            return keeper.exact(("CLIENT", "GETNAME"), keeper.name)
        case 3:
            return keeper.exact(
                ("EVAL", "return {ARGV[1], KEYS[1]}", 1, token, keeper.name), [keeper.name, token]
            )
        case 4:
            return keeper.fails(("GET",), "ERR wrong number of arguments for 'get'")
        case _:
            return keeper.fails(("EVALSHA", "0" * 40, 0), "NOSCRIPT")


def queue(keeper: Keeper, random: Random) -> Script:
    """A list from its first element to its last."""
    key = keeper.fresh(b"q")
    one, two = keeper.value(key)[1], keeper.value(key)[1]
    commands = [
        keeper.if_clean(("RPUSH", key, one, two), 2),
        keeper.if_clean(("LRANGE", key, 0, -1), [one, two]),
        keeper.if_clean(("LPOP", key), one),
        keeper.if_clean(("BLPOP", key, 5), [key, two]),
        keeper.if_clean(("EXISTS", key), 0),
    ]
    yield Batch(commands, len(commands))


def whole_transaction(keeper: Keeper, random: Random) -> Script:
    key = keeper.key(b"t", random.randrange(_NAMES))
    serial, value = keeper.value(key)
    doubt = keeper.doubt(key, serial)
    confirm = keeper.confirm(key, serial, lambda reply: reply == [b"OK", value])
    yield Batch(
        [
            keeper.exact(("MULTI",), b"OK"),
            Command(encode("SET", key, value), is_queued, nothing),
            Command(encode("GET", key), is_queued, nothing),
            Command(encode("EXEC"), confirm, doubt),
        ],
        1,
    )


def transaction_in_pieces(keeper: Keeper, random: Random) -> Script:
    key = keeper.key(b"t", random.randrange(_NAMES))
    serial, value = keeper.value(key)
    yield from surely(keeper, [keeper.exact(("MULTI",), b"OK")])
    keeper.pinned = True
    yield from surely(keeper, [Command(encode("SET", key, value), is_queued, nothing)])
    yield from surely(keeper, [Command(encode("GET", key), is_queued, nothing)])
    if random.random() < 0.2:
        yield from surely(keeper, [keeper.exact(("DISCARD",), b"OK")])
        return
    confirm = keeper.confirm(key, serial, lambda reply: reply == [b"OK", value])
    yield from surely(keeper, [Command(encode("EXEC"), confirm, keeper.doubt(key, serial))])


def watched(keeper: Keeper, random: Random) -> Script:
    """Nobody else writes these keys, so EXEC succeeds, unless the client itself does."""
    key = keeper.key(b"w", random.randrange(_NAMES))
    yield from surely(keeper, [keeper.exact(("WATCH", key), b"OK")])
    keeper.pinned = True
    yield from surely(keeper, [keeper.get(key)])
    disturbs = random.random() < 0.3
    if disturbs:
        yield from surely(keeper, [keeper.set(key)])
    serial, value = keeper.value(key)
    doubt = keeper.doubt(key, serial)

    def check(reply: Any) -> bool:
        if reply is None:  # a write of unknown fate that came late also disturbs
            return disturbs or bool(keeper.maybe.get(key))
        keeper.confirmed[key] = serial
        return bool(reply == [b"OK"]) and not disturbs

    batch = [
        keeper.exact(("MULTI",), b"OK"),
        Command(encode("SET", key, value), is_queued, nothing),
        Command(encode("EXEC"), check, doubt),
    ]
    yield from surely(keeper, batch, whole=True)


def visit(keeper: Keeper, random: Random) -> Script:
    """Another db, in one write, and back."""
    db = (keeper.db + 1 + random.randrange(3)) % 4
    key = keeper.fresh(b"v")
    value = keeper.value(key, db)[1]
    yield from surely(
        keeper,
        [
            keeper.exact(("SELECT", db), b"OK"),
            keeper.if_clean(("SET", key, value), b"OK"),
            keeper.if_clean(("GET", key), value),
            keeper.exact(("SELECT", keeper.db), b"OK"),
            keeper.if_clean(("EXISTS", key), 0),
            keeper.if_clean(("MOVE", key, db), 0),
        ],
    )


def wrong_password(keeper: Keeper, random: Random) -> Script:
    """It is told so, and stays who it is."""
    words = random.choice(
        (
            ("AUTH", keeper.user, "no"),
            ("HELLO", keeper.resp, "AUTH", keeper.user, "no"),
            ("AUTH", "nobody", "no"),
        )
    )
    key = keeper.key(b"s", random.randrange(_NAMES))
    commands = [
        keeper.get(key),
        keeper.fails(words, "WRONGPASS"),
        keeper.exact(("ACL", "WHOAMI"), keeper.user),
        keeper.get(key),
    ]
    yield Batch(commands, len(commands))


def guest(keeper: Keeper, random: Random) -> Script:
    """The guest, if that is its password just now, and itself again. While it is the guest another password
    may end its connection."""
    is_guest = False

    def entered(reply: Any) -> bool:
        nonlocal is_guest
        is_guest = reply == b"OK"
        return is_guest or str(reply).startswith("WRONGPASS")

    def is_it(reply: Any) -> bool:
        return bool(reply == (GUEST if is_guest else keeper.user))

    keeper.pinned = True
    commands = [Command(encode("AUTH", GUEST, random.choice(PASSWORDS)), entered, nothing)]
    commands += [Command(encode("ACL", "WHOAMI"), is_it, nothing)] * random.randrange(4)
    commands.append(keeper.exact(("AUTH", keeper.user, keeper.user), b"OK"))
    commands.append(keeper.if_clean(("ACL", "WHOAMI"), keeper.user))
    yield from surely(keeper, commands)


_Shares = tuple[tuple[Callable[[Keeper, Random], Script], float], ...]
_SHARES: _Shares = (
    (whole_pipeline, 0.003),
    (whole_transaction, 0.05),
    (transaction_in_pieces, 0.01),
    (watched, 0.01),
    (queue, 0.02),
    (visit, 0.02),
)
_USERS_SHARES: _Shares = ((wrong_password, 0.05), (guest, 0.05))
