"""Every key of the model stands in config/README.md: its default, its bounds, the protocols that heed it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest

from muxproxy.config import keys, ways
from muxproxy.config.model import (
    PATIENCE,
    Backend,
    Batch,
    Clients,
    ClientsTls,
    Dubbo,
    Http,
    Limit,
    Node,
    Queue,
    Redis,
    Route,
    Tcp,
    Upstream,
    UpstreamTls,
)
from muxproxy.config.units import format_duration, format_size
from muxproxy.config.ways import Way
from tests.config.test_examples import DESTINATIONS, LED
from tests.pages import READMES, ROOT, coded, rows, section

# heading -> table of the file, its struct, its readers
KEYS = {
    "`muxproxy.toml`": ("", Node, keys.NODE),
    "A backend's file": ("", Backend, keys.BACKEND),
    "`[clients]`": ("clients", Clients, keys.TABLES["clients"]),
    "`[queue]`": ("queue", Queue, keys.TABLES["queue"]),
    "`[upstream]`": ("upstream", Upstream, keys.TABLES["upstream"]),
    "`[clients.tls]`": ("clients.tls", ClientsTls, keys.TABLES["clients"]["tls"].table),
    "`[upstream.tls]`": ("upstream.tls", UpstreamTls, keys.TABLES["upstream"]["tls"].table),
    "`[http]`": ("http", Http, keys.PROTOCOL_TABLES["http"]),
    "`[[http.routes]]`": ("http.routes", Route, keys.PROTOCOL_TABLES["http"]["routes"].table),
    "`[redis]`": ("redis", Redis, keys.PROTOCOL_TABLES["redis"]),
    "`[redis] batch`": ("redis.batch", Batch, keys.PROTOCOL_TABLES["redis"]["batch"].table),
    "`[dubbo]`": ("dubbo", Dubbo, keys.PROTOCOL_TABLES["dubbo"]),
    "`[[dubbo.limits]]`": ("dubbo.limits", Limit, keys.PROTOCOL_TABLES["dubbo"]["limits"].table),
    "`[tcp]`": ("tcp", Tcp, keys.PROTOCOL_TABLES["tcp"]),
}


def reference() -> str:
    return READMES["config/README.md"].read_text()


def written(value: object, reader: keys.Reader) -> str:
    """As an operator would write it."""
    if value is None:
        return "not written"
    if isinstance(reader, keys.Duration):
        assert isinstance(value, float)
        return "0" if value == 0 else f'"{format_duration(value)}"'
    if isinstance(reader, keys.Size):
        assert isinstance(value, int)
        return f'"{format_size(value)}"'
    if isinstance(reader, keys.Mode):
        return f'"{value:04o}"'
    if isinstance(reader, keys.Inline):
        values = msgspec.structs.asdict(value).items()
        inner = ", ".join(f"{key} = {written(each, reader.table[key])}" for key, each in values)
        return f"{{ {inner} }}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else f'"{value}"'


def default(table: str, field: msgspec.structs.FieldInfo, reader: keys.Reader) -> str:
    """What stands in the column of defaults."""
    if field.required:
        return "required"
    if field.default in (None, "", ()):
        return "`[]`" if isinstance(reader, keys.Each) else "not written"
    patient = {protocol: tables.get(table, {}) for protocol, tables in PATIENCE.items()}
    others = {
        protocol: own[field.encode_name] for protocol, own in patient.items() if field.encode_name in own
    }
    own = [f"{p} `{written(value, reader)}`" for p, value in others.items() if value != field.default]
    return "; ".join([f"`{written(field.default, reader)}`", *own])


def bounds(reader: keys.Reader) -> str | None:
    """What stands in the column `takes`, where the reader has bounds."""
    if isinstance(reader, keys.Count):
        return f"{reader.low:,} to {reader.high:,}"
    if isinstance(reader, keys.CountOr):
        return f'{reader.low:,} to {reader.high:,}, or `"{reader.word}"`'
    if isinstance(reader, keys.Duration):
        zero = f"; 0: {reader.zero}" if reader.zero else ""
        return f"{format_duration(reader.low)} to {format_duration(reader.high)}{zero}"
    if isinstance(reader, keys.Mode):
        return '`"0600"` to `"0777"`'
    if isinstance(reader, keys.Size):
        return f"{format_size(reader.low)} to {format_size(reader.high)}"
    if isinstance(reader, keys.OneOf):
        return ", ".join(f'`"{name}"`' for name in reader.names)
    return None


def wrong_keys(text: str, title: str) -> Iterator[str]:
    table, struct, readers = KEYS[title]
    told = {row["key"].strip("`"): row for row in rows(section(text, title))}
    yield from (f"{key}: does not stand there" for key in readers.keys() - told.keys())
    yield from (f"{key}: there is no such key" for key in told.keys() - readers.keys())
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in readers.keys() & told.keys():
        row, reader = told[key], readers[key]
        if row["default"] != (right := default(table, fields[key], reader)):
            yield f"{key}: its default is {right}"
        if row["takes"] != (right := bounds(reader) or row["takes"]):
            yield f"{key}: it takes {right}"


@pytest.mark.parametrize("title", KEYS)
def test_every_key_stands_there_with_its_default_and_its_bounds(title: str) -> None:
    assert list(wrong_keys(reference(), title)) == []


def test_no_table_of_keys_is_left_out() -> None:
    inner = {
        f"{name}.{key}"
        for name, table in {**keys.TABLES, **keys.PROTOCOL_TABLES}.items()
        for key, reader in table.items()
        if isinstance(reader, keys.Inline | keys.Section | keys.Several)
    }
    assert {table for table, _, _ in KEYS.values()} == {"", *keys.TABLES, *keys.PROTOCOL_TABLES, *inner}


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ('`"5s"`; redis `"1s"`', '`"5s"`; redis `"2s"`', "timeout: its default is"),
        ("| 0 to 1,000,000 |", "| 1 to 1,000,000 |", "max_waiting: it takes"),
        ("| `max_waiting` |", "| `max_wating` |", "max_waiting: does not stand there"),
    ],
)
def test_what_is_not_so_is_found(old: str, new: str, wrong: str) -> None:
    assert reference().count(old) == 1
    assert any(line.startswith(wrong) for line in wrong_keys(reference().replace(old, new), "`[queue]`"))


def wrong_ways(text: str) -> Iterator[str]:
    told: dict[str, str] = {}
    for row in rows(section(text, "What a reload changes")):
        told |= dict.fromkeys(coded(row["a new value of"]), row["takes effect"])
    for key, rule in {**ways.NODE, **ways.BACKEND}.items():
        way = rule.more.value if rule.more is rule.less else f"{rule.more.value}; less: {rule.less.value}"
        if told.pop(key, Way.AT_ONCE.value) != way:
            yield f"{key}: {way}"
    yield from (f"{key}: there is no such key" for key in told)


def test_what_a_reload_does_with_a_key_stands_there() -> None:
    assert list(wrong_ways(reference())) == []
    text = reference().replace("`upstream.keepalive` |", "`upstream.keepalife` |")
    assert [line.split(":")[0] for line in wrong_ways(text)] == ["upstream.keepalive", "upstream.keepalife"]


def keys_of_example(text: str) -> set[str]:
    """`[clients] listen`, those that are off too. test_examples.py holds them against the model."""
    parts = re.split(r"^(\[\w+\])$", text, flags=re.MULTILINE)
    return {
        f"{title} {key}"
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
        for key in re.findall(r"^#? ?([a-z_]+) = ", body, re.MULTILINE)
    }


def test_the_protocols_with_a_key_are_those_whose_example_has_it() -> None:
    shown: dict[str, set[str]] = {name: set() for name in keys.PROTOCOLS}
    # What only destinations have, any protocol's: outbound.toml and session-cluster.toml show it.
    destined = {f"[upstream] {key}" for key in DESTINATIONS} | {f"[clients] {key}" for key in LED}
    for path in (ROOT / "config/backends").glob("*.toml"):
        protocol = re.search(r'^protocol = "(\w+)"', path.read_text(), re.MULTILINE)
        assert protocol is not None
        shown[protocol[1]] |= keys_of_example(path.read_text()) | destined
    assert all(shown.values())
    for title in ("[clients]", "[queue]", "[upstream]"):
        for row in rows(section(reference(), f"`{title}`")):
            key = f"{title} {row['key'].strip('`')}"
            using = [name for name in keys.PROTOCOLS if key in shown[name]]
            assert row["with"] == ("all" if len(using) == len(shown) else ", ".join(using)), key
