"""The table of commands of one backend: from a name as a client spelled it to what has to be done about it.

What servers say of their commands is in known.py (generated); what follows from it for a shared connection
is here, with the operator's `allow` and `deny` (config/refusals.py). A name that is in neither is of a module
or of a newer server: kind UNKNOWN, until `learn` has heard what the live server says of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from muxproxy.config.refusals import BY_DEFAULT, NEVER, why_refused
from muxproxy.protocols.contract import IDEMPOTENT
from muxproxy.protocols.redis.commands import command as kinds
from muxproxy.protocols.redis.commands.command import (
    BLOCKING,
    CONTAINER,
    LISTEN,
    REFUSED,
    REPLICA,
    SHARED,
    UNKNOWN,
    Command,
)
from muxproxy.protocols.redis.commands.info import Flags
from muxproxy.protocols.redis.commands.info import flags as flags_of_entries
from muxproxy.protocols.redis.commands.known import COMMANDS
from muxproxy.protocols.redis.resp.values import parse

# Names that are kept because the server knows them, and as many that it does not: a client may send any name,
# so the latter give way, the oldest first (P7). No server has a tenth of this in its modules.
MAX_LEARNED = 1000
# Bytes of a name worth a look; Redis's longest has 23, modules' some 30.
MAX_NAME = 64
# Of a server's error to a subcommand that it does not know, which is kept; in Redis and Valkey they have 80.
MAX_DENIAL = 300

# What the session has to do about it. These are known even to servers whose COMMAND does not list them (QUIT
# before 7.0).
KINDS = {
    "multi": kinds.MULTI,
    "exec": kinds.EXEC,
    "discard": kinds.DISCARD,
    "watch": kinds.WATCH,
    "unwatch": kinds.UNWATCH,
    "auth": kinds.AUTH,
    "hello": kinds.HELLO,
    "select": kinds.SELECT,
    "readonly": REPLICA,
    "readwrite": REPLICA,
    "asking": kinds.ASKING,
    "ping": kinds.PING,
    "quit": kinds.QUIT,
    "reset": kinds.RESET,
    "subscribe": LISTEN,
    "unsubscribe": LISTEN,
    "psubscribe": LISTEN,
    "punsubscribe": LISTEN,
    "ssubscribe": LISTEN,
    "sunsubscribe": LISTEN,
    "script|kill": kinds.ALONE,
    "function|kill": kinds.ALONE,
    "client|unpause": kinds.ALONE,
}
# They mean the same in every db, and (but for FUNCTION STATS, session.py) their replies are the same in every
# RESP version: no keys, and neither maps, sets, numbers with a point, nulls nor verbatim text.
EVERYWHERE = frozenset(
    {
        "bgrewriteaof",
        "bgsave",
        "echo",
        "function|stats",
        "lastsave",
        "ping",
        "publish",
        "script|exists",
        "script|flush",
        "script|load",
        "time",
        "unwatch",
    }
)
_APART = frozenset({"client", "script", "function"})  # their subcommands are told apart in any case

# Where a blocking command's timeout stands (Command.block).
BLOCK = {
    "blmove": "last:s",
    "blmpop": "first:s",
    "blpop": "last:s",
    "brpop": "last:s",
    "brpoplpush": "last:s",
    "bzmpop": "first:s",
    "bzpopmax": "last:s",
    "bzpopmin": "last:s",
    "wait": "last:ms",
    "waitaof": "last:ms",
    "xread": "BLOCK:ms",
    "xreadgroup": "BLOCK:ms",
}

# Read-only, and still not sent twice (P9): a script that brought the server down would do it again.
NOT_TWICE = frozenset({"eval_ro", "evalsha_ro", "fcall_ro"})

# Of the ACL category @connection and yet of no consequence to who has the connection next. CLIENT's are the
# session's business, each by its name. What a newer server adds to the category is a decision to make:
# tests/protocols/redis/commands/test_table.py asks for it.
HARMLESS = frozenset(
    {
        "command",
        "command|count",
        "command|docs",
        "command|getkeys",
        "command|getkeysandflags",
        "command|help",
        "command|info",
        "command|list",
        "echo",
    }
)


class Table:
    """One backend's. `commands` is by the name's bytes, in upper and in lower case."""

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = frozenset(name.lower() for name in allow)
        self._deny = frozenset(name.lower() for name in deny)
        self.commands: dict[bytes, Command] = {}  # a framer may look here before it calls find()
        self._rest: dict[str, Command] = {}  # container -> what its subcommands are that are not listed
        self._strangers: dict[str, Command] = {}  # UNKNOWN ones, the oldest first
        self._asked: set[str] = set()  # those of them that the server was asked about
        self._learned: set[str] = set()
        # CLIENT's subcommands, in upper case -> (as it was spelled, the server's error to it)
        self._denials: dict[bytes, tuple[bytes, bytes]] = {}
        self._nameless = Command("a command with a long name", UNKNOWN)
        names = {*_KNOWN, *KINDS, *NEVER, *BY_DEFAULT, *self._allow, *self._deny}
        for name, subs in _by_container(names).items():
            if name in _KNOWN or name in KINDS or self._why(name) or any(self._why(sub) for sub in subs):
                self._add(self._make(name, subs))

    def find(self, name: bytes) -> Command:
        """Of a command by its first word, as the client spelled it."""
        command = self.commands.get(name)
        if command is None:
            command = self.commands.get(name.upper()) or self._stranger(name)
        return command

    def find_sub(self, container: Command, word: bytes) -> Command:
        """Of a command of kind CONTAINER by its second word."""
        word = word.upper()
        subcommands = container.subcommands
        if subcommands is not None and word in subcommands:
            return subcommands[word]
        rest = self._rest.get(container.name)
        return self._stranger(container.name.encode("latin-1") + b"|" + word) if rest is None else rest

    def is_asked(self, name: str) -> bool:
        """`name`, of a Command of kind UNKNOWN: asking the server about it again would tell nothing new."""
        return name in self._asked or name not in self._strangers

    def learn(self, name: str, info_reply: bytes | None) -> None:
        """What the live server replied to COMMAND INFO `name`; None: it cannot be asked."""
        if name in self._learned:  # two sessions asked at once
            return
        flags = _flags_of(info_reply)
        # One that listens, or belongs to its connection in a way nobody here knows, is pinned for good.
        if (
            not flags
            or _has(flags, "pubsub")
            or _has(flags, "connection")
            or len(self._learned) >= MAX_LEARNED
        ):
            if name in self._strangers:
                self._asked.add(name)
            return
        command = self._strangers.pop(name, None) or Command(name, UNKNOWN)
        self._asked.discard(name)
        self._learned.add(name)
        # In place: whoever holds the object for its next request must see it too.
        command.kind = BLOCKING if _has(flags, "blocking") else SHARED
        command.marks = IDEMPOTENT if _only_reads(flags.values()) else 0
        self._add(command)

    def denial(self, word: bytes) -> bytes:
        """What the server said to `CLIENT word`, which it does not know; b"" if it was not asked."""
        spelled, reply = self._denials.get(word.upper(), (word, b""))
        return reply if spelled == word else reply.replace(b"'%b'" % spelled, b"'%b'" % word)

    def deny(self, word: bytes, reply: bytes) -> None:
        if len(word) <= MAX_NAME and len(reply) <= MAX_DENIAL:
            if len(self._denials) >= MAX_LEARNED:
                del self._denials[next(iter(self._denials))]
            self._denials[word.upper()] = word, reply

    def forget_denials(self) -> None:
        """Who asks next asks the server."""
        for word in self._denials:
            self._asked.discard("client|" + word.lower().decode("latin-1"))
        self._denials.clear()

    def _make(self, name: str, subs: list[str]) -> Command:
        """`subs`: of its subcommands, those that are known or that a rule names."""
        why = self._why(name)
        whys = {sub: self._why(sub) for sub in subs}
        # CLIENT is a container in any case: what its subcommands do is the session's business.
        if all(bool(each) == bool(why) for each in whys.values()) and (why or name not in _APART):
            return _plain(name, why)
        if why or (name != "client" and name in _KNOWN):
            # One that is not listed is refused with the others; or the server will say that there is none.
            # But of CLIENT and of what nobody knows it may change its connection: UNKNOWN.
            self._rest[name] = _plain(name, why)
        subcommands = {
            sub.partition("|")[2].upper().encode("latin-1"): _plain(sub, each)
            for sub, each in whys.items()
            if each or sub in _KNOWN or name in _KNOWN
        }
        return Command(name, CONTAINER, subcommands=subcommands)

    def _why(self, name: str) -> str:
        return why_refused(name, self._allow, self._deny)

    def _add(self, command: Command) -> None:
        container, _, sub = command.name.encode("latin-1").partition(b"|")
        if not sub:
            self.commands[container.lower()] = self.commands[container.upper()] = command
        elif (home := self.commands.get(container)) and home.subcommands is not None:
            home.subcommands[sub.upper()] = command

    def _stranger(self, name: bytes) -> Command:
        if len(name) > MAX_NAME:
            return self._nameless
        key = name.lower().decode("latin-1")
        command = self._strangers.get(key)
        if command is None:
            if len(self._strangers) >= MAX_LEARNED:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                self._asked.discard(oldest)
            command = self._strangers[key] = Command(key, UNKNOWN)
        return command


def _by_container(names: Iterable[str]) -> dict[str, list[str]]:
    """Every command, and every container of a subcommand -> the subcommands."""
    found: dict[str, list[str]] = {}
    for name in names:
        container, _, sub = name.partition("|")
        subs = found.setdefault(container, [])
        if sub:
            subs.append(name)
    return found


_KNOWN: Flags = {name: frozenset(flags.split()) for flags, names in COMMANDS for name in names.split()}
_SUBCOMMANDS = _by_container(_KNOWN)


def _plain(name: str, why: str) -> Command:
    """A command, or a container whose subcommands need not be told apart."""
    if why:
        return Command(name, REFUSED, why=why)
    if name in KINDS:
        return Command(name, KINDS[name], is_anywhere=name in EVERYWHERE)
    if "blocking" in _KNOWN.get(name, ()):
        return Command(name, BLOCKING, block=BLOCK.get(name, ""))
    return Command(name, is_readonly=_is_repeatable(name), is_anywhere=name in EVERYWHERE)


def _is_repeatable(name: str) -> bool:
    """P9. A container is if all its subcommands are, HELP apart."""
    subs = [sub for sub in _SUBCOMMANDS.get(name, ()) if sub != name + "|help"]
    return name not in NOT_TWICE and _only_reads(_KNOWN.get(each, frozenset()) for each in subs or [name])


def _only_reads(flags: Iterable[frozenset[str]]) -> bool:
    """And never blocks: XREAD from `$`, sent again, would skip what came between the two."""
    return all("readonly" in each and "blocking" not in each for each in flags)


def _flags_of(info_reply: bytes | None) -> Flags:
    """Empty if the server does not know the command, or does not say."""
    if info_reply is None:
        return {}
    try:
        entries, _ = parse(info_reply)
        return flags_of_entries(entries) if isinstance(entries, list) else {}
    except ValueError:  # not what COMMAND INFO answers: an old proxy's or a lookalike's
        return {}


def _has(flags: Flags, word: str) -> bool:
    return any(word in each for each in flags.values())
