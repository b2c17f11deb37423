"""Every key of the TOML files in one table: how its value is read, and between which bounds.

Defaults and their reasons are in model.py; tests/config/test_keys.py checks that the two name the same keys.
A reader raises ValueError whose text is the rule, so that one message can name file, key, value and rule.
Bounds are wide: they catch slips of the unit or of a digit, not taste. shown() is the inverse, for messages
and for the plan of a reload: passwords are shown nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from muxproxy.config import address, secrets, sources, units
from muxproxy.config.destination import entries
from muxproxy.config.destination.redirect import parse_cgroup, parse_place
from muxproxy.config.model import AUTO

NODE_FILE = "muxproxy.toml"
PROTOCOLS = ("http", "redis", "dubbo", "tcp")
DIRECTIONS = ("servers", "original", "host")  # of upstream.to

MS, S, M, H, D = 1e-3, 1.0, 60.0, 3600.0, 86400.0
KIB, MIB, GIB = 1024, 1024**2, 1024**3

# A backend's name is a file name, a metric's label and a word in a log line: no quoting in any of them.
BACKEND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A command as in `COMMAND LIST`: of modules too ("ft.search"), never with spaces.
_COMMAND = re.compile(r"[!-{}~]{1,64}(?:\|[!-{}~]{1,64})?")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,255}")
_MODE = re.compile(r"0[67][0-7][0-7]")
BACKEND_NAME_RULE = "1 to 63 of letters, digits, '.', '_' and '-', beginning with a letter or a digit"


@dataclass(frozen=True, slots=True)
class Count:
    low: int
    high: int

    def read(self, value: object) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueError(f"a whole number from {self.low} to {self.high}, without quotes")
        return value


@dataclass(frozen=True, slots=True)
class CountOr:
    """A number, or a word that stands for one that the machine knows."""

    low: int
    high: int
    word: str
    stands_as: int  # in the model

    def read(self, value: object) -> int:
        if value == self.word:
            return self.stands_as
        try:
            return Count(self.low, self.high).read(value)
        except ValueError:
            raise ValueError(f'a whole number from {self.low} to {self.high}, or "{self.word}"') from None


@dataclass(frozen=True, slots=True)
class Duration:
    low: float
    high: float
    zero: str = ""  # what 0 means, where it means something

    def read(self, value: object) -> float:
        seconds = units.parse_duration(value)
        if (seconds == 0 and self.zero) or self.low <= seconds <= self.high:
            return seconds
        span = f"from {units.format_duration(self.low)} to {units.format_duration(self.high)}"
        raise ValueError(f"{span}{f', or 0: {self.zero}' if self.zero else ''}")


@dataclass(frozen=True, slots=True)
class Size:
    low: int
    high: int

    def read(self, value: object) -> int:
        size = units.parse_size(value)
        if self.low <= size <= self.high:
            return size
        raise ValueError(f"from {units.format_size(self.low)} to {units.format_size(self.high)}")


@dataclass(frozen=True, slots=True)
class OneOf:
    names: tuple[str, ...]

    def read(self, value: object) -> str:
        if value in self.names:
            return str(value)
        raise ValueError(f"one of {', '.join(self.names)}")


@dataclass(frozen=True, slots=True)
class Flag:
    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError("true or false, without quotes")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A string that `check` accepts, kept as it is written."""

    check: Callable[[str], object]

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("a string in quotes")
        self.check(value)
        return value


@dataclass(frozen=True, slots=True)
class Secret:
    """A string that no message ever shows (load.py)."""

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError("a string in quotes, not empty")
        if len(value.encode()) > secrets.SECRET_MAX:
            raise ValueError(f"at most {secrets.SECRET_MAX} bytes")
        return value


@dataclass(frozen=True, slots=True)
class Each:
    """A list of at least `least` items; every item that is wrong is a problem of its own."""

    item: Text
    least: int = 1


@dataclass(frozen=True, slots=True)
class Inline:
    """A table as a value: `batch = { commands = 3, delay = "5ms" }`."""

    table: Table


@dataclass(frozen=True, slots=True)
class Section:
    """A table whose presence says something, `[upstream.tls]`: one value, with all that is in it."""

    table: Table
    required: tuple[str, ...] = ()  # keys without a default


@dataclass(frozen=True, slots=True)
class Several:
    """A list of tables, `[[dubbo.limits]]`; `required` keys have no default."""

    table: Table
    required: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class From:
    """Who may connect."""

    def read(self, value: object) -> tuple[str, ...]:
        return sources.read(value)


@dataclass(frozen=True, slots=True)
class AdminPath:
    """`/run/x.sock`, or `unix:/run/x.sock` as in `listen`."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("a string in quotes")
        return address.parse_unix_path(value.removeprefix("unix:"))


@dataclass(frozen=True, slots=True)
class Mode:
    """Rights of a file as chmod takes them, `"0660"`: its owner can always read and write."""

    def read(self, value: object) -> int:
        if not isinstance(value, str) or _MODE.fullmatch(value) is None:
            raise ValueError('four octal digits in quotes, from "0600" to "0777", such as "0660"')
        return int(value, 8)


# Those that read one value.
Single = Count | CountOr | Duration | Size | OneOf | Flag | Text | Secret | From | AdminPath | Mode
Reader = Single | Each | Inline | Section | Several
Table = dict[str, Reader]


def check_command(text: str) -> None:
    """Raises ValueError with the rule. Which names there are only the server knows: it may have modules."""
    if _COMMAND.fullmatch(text) is None:
        raise ValueError('a command, such as "flushall", or with its subcommand "config|set"')


def check_name(text: str) -> None:
    """Raises ValueError with the rule. What goes over the wire as one word."""
    if _NAME.fullmatch(text) is None:
        raise ValueError("1 to 255 printable characters without spaces")


def check_server_name(text: str) -> None:
    """Raises ValueError with the rule."""
    if not address.is_host(text):
        raise ValueError("the name in the server's certificate, such as api.internal, or an IP address")


def check_file(text: str) -> None:
    """Raises ValueError with the rule."""
    if not text.startswith("/") or text.endswith("/") or "\0" in text:
        raise ValueError("the path of a file is absolute, such as /run/credentials/muxproxy/redis")


def check_alpn(text: str) -> None:
    """Raises ValueError with the rule. Any bytes would do (RFC 7301 section 3.1); all that are registered,
    and Python takes, are ASCII."""
    if not re.fullmatch(r"[!-~]{1,255}", text):
        raise ValueError('the name of a protocol in a TLS handshake, such as "postgresql"')


_TLS_VERSION = OneOf(("1.2", "1.3"))


NODE: Table = {
    "workers": CountOr(1, 256, "auto", stands_as=AUTO),
    "memory": Size(1 * MIB, 1024 * GIB),
    "drain_timeout": Duration(1 * MS, 1 * H, zero="cut off at once what is owed"),
    "admin": AdminPath(),
    "admin_mode": Mode(),
    "admin_owner": Text(check_name),
    "admin_group": Text(check_name),
    "admin_tcp": Text(address.parse_listen_tcp),
    "log_level": OneOf(("debug", "info", "warning", "error")),
    "user": Text(check_name),
    "group": Text(check_name),
}

# The top of a backend's file, apart from its tables.
BACKEND: Table = {"protocol": OneOf(PROTOCOLS), "shards": Count(1, 64)}

# Tables that every protocol has.
TABLES: dict[str, Table] = {
    "clients": {
        "listen": Each(Text(address.parse_listen)),
        "max_connections": Count(1, 1_000_000),
        "idle_timeout": Duration(1 * MS, 7 * D),
        "head_timeout": Duration(1 * MS, 1 * H),
        "stall_timeout": Duration(1 * MS, 1 * H),
        "hold_timeout": Duration(1 * MS, 1 * H),
        "hold_rate": Size(1, 1 * GIB),
        "min_rate": Size(1, 1 * GIB),
        "request_buffer": Size(1 * KIB, 64 * MIB),
        "response_buffer": Size(1 * KIB, 64 * MIB),
        "pipeline_buffer": Size(1 * KIB, 64 * GIB),
        "backlog": Count(1, 65535),
        "tls": Section(
            {
                "cert_file": Text(check_file),
                "key_file": Text(check_file),
                "ca_file": Text(check_file),
                "ask": OneOf(("required", "optional")),
                "min_version": _TLS_VERSION,
                "alpn": Text(check_alpn),
            },
            required=("cert_file",),
        ),
        "from": From(),
        "redirect": Each(Text(parse_place), least=0),
        "redirect_users": Each(Text(check_name), least=0),
        "redirect_cgroups": Each(Text(parse_cgroup), least=0),
        "transparent": Flag(),
    },
    "queue": {
        "max_waiting": Count(0, 1_000_000),
        "timeout": Duration(1 * MS, 1 * H),
    },
    "upstream": {
        "servers": Each(Text(address.parse_server)),
        "to": OneOf(DIRECTIONS),
        "allow": Each(Text(entries.parse_entry), least=0),
        "deny": Each(Text(entries.parse_entry), least=0),
        "max_connections": Count(1, 65535),
        "max_connections_each": Count(1, 65535),
        "max_destinations": Count(1, 65535),
        "min_connections": Count(0, 65535),
        "max_in_flight": Count(1, 65535),
        "max_pinned": Count(0, 65535),
        "connect_timeout": Duration(1 * MS, 5 * M),
        "max_unanswered": Count(1, 15),
        "keepalive": Duration(1 * S, 1 * H),
        "suspect_after": Duration(1 * MS, 1 * D),
        "reply_timeout": Duration(1 * MS, 1 * D),
        "idle_timeout": Duration(1 * MS, 7 * D),
        "max_lifetime": Duration(1 * MS, 30 * D, zero="for ever"),
        "backoff_min": Duration(1 * MS, 10 * M),
        "backoff_max": Duration(1 * MS, 10 * M),
        "name_ttl": Duration(1 * MS, 1 * D),
        "name_grace": Duration(1 * MS, 1 * D, zero="it is gone at once"),
        "abandoned_bytes": Size(0, 1 * GIB),
        "abandoned_timeout": Duration(1 * MS, 1 * H),
        "tls": Section(
            {
                "ca_file": Text(check_file),
                "server_name": Text(check_server_name),
                "cert_file": Text(check_file),
                "key_file": Text(check_file),
                "min_version": _TLS_VERSION,
                "verify": Flag(),
                "alpn": Text(check_alpn),
            }
        ),
    },
}

# The one table that a protocol may have besides those.
PROTOCOL_TABLES: dict[str, Table] = {
    "http": {
        "max_head": Size(1 * KIB, 1 * MIB),
        "max_target": Size(256, 1 * MIB),
        "max_upgraded": Count(0, 65535),
        "tunnel_timeout": Duration(1 * S, 24 * H),
        "max_tunnels": Count(0, 65535),
        "routes": Several(
            {
                "host": Text(entries.parse_route_host),
                "servers": Each(Text(address.parse_server)),
                "max_connections": Count(1, 65535),
                "tls": Flag(),
                "queue": Inline({"max_waiting": Count(0, 1_000_000), "timeout": Duration(1 * MS, 1 * H)}),
            },
            required=("host",),
        ),
    },
    "redis": {
        "username": Text(check_name),
        "password": Secret(),
        "password_file": Text(check_file),
        "client_password": Secret(),
        "client_password_file": Text(check_file),
        "auth": OneOf(("configured", "passthrough")),
        "allow": Each(Text(check_command), least=0),
        "deny": Each(Text(check_command), least=0),
        "batch": Inline(
            {
                "commands": Count(0, 100_000),
                "delay": Duration(100e-6, 1 * S),
            }
        ),
        "fence": Count(0, 1_000_000_000),
        "subscriber_buffer": Size(1 * KIB, 1 * GIB),
        "channels_buffer": Size(1 * KIB, 64 * GIB),
        "subscribe_buffer": Size(64 * KIB, 64 * MIB),
        "session_buffer": Size(1 * KIB, 64 * KIB),
        "states_buffer": Size(64 * KIB, 1 * GIB),
        "max_argument": Size(1 * KIB, 4 * GIB),
        "max_arguments": Count(16, 2**31 - 1),
    },
    "dubbo": {
        "heartbeat": Duration(100 * MS, 1 * D, zero="none are sent"),
        "heartbeat_misses": Count(1, 100),
        "readonly_timeout": Duration(1 * MS, 1 * D),
        "max_frame": Size(1 * KIB, 1 * GIB),
        "limits": Several(
            {
                "service": Text(check_name),
                "method": Text(check_name),
                "actives": Count(1, 1_000_000),
                "timeout": Duration(1 * MS, 1 * H, zero="never wait, refuse at once"),
            },
            required=("service", "actives"),
        ),
    },
    "tcp": {
        "refuse": OneOf(("rst", "fin")),
        "reserve": Count(0, 65535),
        "reserve_for": OneOf(("postgres-cancel",)),
        "session_timeout": Duration(1 * MS, 30 * D, zero="for ever"),
    },
}

# The first may not exceed the second.
NOT_ABOVE = (
    ("shards", "upstream.max_connections"),
    ("upstream.min_connections", "upstream.max_connections"),
    ("upstream.max_pinned", "upstream.max_connections"),
    ("http.max_upgraded", "upstream.max_connections"),
    ("http.max_tunnels", "upstream.max_connections"),
    ("clients.response_buffer", "clients.pipeline_buffer"),
    ("upstream.backoff_min", "upstream.backoff_max"),
    ("http.max_target", "http.max_head"),
)

# -- the other way round: a value of the model as an operator would write it, or not at all -----------------

NOT_WRITTEN = "not written"
HIDDEN = "..."


def reader_of(dotted: str) -> Reader:
    """`upstream.servers`, `redis.batch.delay`; of muxproxy.toml or the top of a backend's file `workers`."""
    table: Table = {**NODE, **BACKEND}
    *places, key = dotted.split(".")
    for place in places:
        inner = table.get(place)
        table = inner.table if isinstance(inner, Inline) else {**TABLES, **PROTOCOL_TABLES}[place]
    return table[key]


def shown(dotted: str, value: object) -> str | list[str]:
    """A list's items each by itself, so that two lists can be compared; everything else is one text."""
    reader = reader_of(dotted)
    if isinstance(reader, Several):
        assert isinstance(value, tuple)
        return [_table(item, reader.table) for item in value]
    if isinstance(reader, Each | From):
        assert isinstance(value, tuple)
        return [str(item) for item in value]
    if value in (None, ""):
        return NOT_WRITTEN
    if isinstance(reader, Section):
        return f"{{ {_table(value, reader.table)} }}".replace("{  }", "{}")
    # A name that is none may be the password itself, in the wrong place (secrets.py).
    if isinstance(reader, Secret) or (dotted == "redis.username" and secrets.is_hidden(dotted, value)):
        return HIDDEN
    return _one(reader, value)


def _one(reader: Reader, value: object) -> str:
    """What is neither a list nor a secret."""
    if isinstance(reader, Duration) and isinstance(value, int | float):
        return "0" if value == 0 else f'"{units.format_duration(value)}"'
    if isinstance(reader, Size) and isinstance(value, int):
        return f'"{units.format_size(value)}"'
    if isinstance(reader, Flag):
        return "true" if value else "false"
    if isinstance(reader, Mode) and isinstance(value, int):
        return f'"{value:04o}"'
    if isinstance(reader, Inline):
        return f"{{ {_table(value, reader.table)} }}"
    if isinstance(reader, CountOr) and value == reader.stands_as:
        return f'"{reader.word}"'
    return json.dumps(value, ensure_ascii=False)


def _table(item: object, table: Mapping[str, Reader]) -> str:
    """`service = "S", actives = 10`, without what nobody wrote."""
    assert isinstance(item, msgspec.Struct)
    values = [
        (field.name, getattr(item, field.name), field.default) for field in msgspec.structs.fields(item)
    ]
    return ", ".join(
        f"{key} = {_one(table[key], value)}" for key, value, default in values if value != default
    )
