"""The table of keys and the model agree, and every default is a value that an operator could write."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config import keys
from muxproxy.config.address import parse_listen_tcp
from muxproxy.config.model import (
    AUTO,
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
    RouteQueue,
    Tcp,
    Upstream,
    UpstreamTls,
)
from muxproxy.config.units import format_duration, format_size
from tests.config.models import READERS, value_of

MODEL = {
    "": (Node, keys.NODE),
    "clients": (Clients, keys.TABLES["clients"]),
    "queue": (Queue, keys.TABLES["queue"]),
    "upstream": (Upstream, keys.TABLES["upstream"]),
    "clients.tls": (ClientsTls, keys.TABLES["clients"]["tls"].table),
    "upstream.tls": (UpstreamTls, keys.TABLES["upstream"]["tls"].table),
    "http": (Http, keys.PROTOCOL_TABLES["http"]),
    "http.routes": (Route, keys.PROTOCOL_TABLES["http"]["routes"].table),
    "redis": (Redis, keys.PROTOCOL_TABLES["redis"]),
    "redis.batch": (Batch, keys.PROTOCOL_TABLES["redis"]["batch"].table),
    "dubbo": (Dubbo, keys.PROTOCOL_TABLES["dubbo"]),
    "dubbo.limits": (Limit, keys.PROTOCOL_TABLES["dubbo"]["limits"].table),
    "tcp": (Tcp, keys.PROTOCOL_TABLES["tcp"]),
}
NOT_WRITTEN = {"file"}  # filled in by load.py


def test_every_table_of_the_model_has_its_keys() -> None:
    tables = {**keys.TABLES, **keys.PROTOCOL_TABLES}
    inner = {
        f"{name}.{key}"
        for name, table in tables.items()
        for key, reader in table.items()
        if isinstance(reader, keys.Inline | keys.Section | keys.Several)
    }
    assert {*tables, *inner, ""} == set(MODEL)
    assert set(keys.PROTOCOL_TABLES) == set(keys.PROTOCOLS)


def test_what_must_be_written_has_no_default() -> None:
    for table, key, struct in (("dubbo", "limits", Limit), ("http", "routes", Route)):
        several = keys.PROTOCOL_TABLES[table][key]
        assert isinstance(several, keys.Several)
        required = {field.name for field in msgspec.structs.fields(struct) if field.required}
        assert set(several.required) == required
    for table in ("clients", "upstream"):
        section = keys.TABLES[table]["tls"]
        assert isinstance(section, keys.Section)
        fields = msgspec.structs.fields(MODEL[f"{table}.tls"][0])
        assert set(section.required) == {field.name for field in fields if field.required}


@pytest.mark.parametrize("name", MODEL)
def test_model_and_keys_agree(name: str) -> None:
    struct, table = MODEL[name]
    assert set(struct.__struct_encode_fields__) - NOT_WRITTEN == set(table)


@pytest.mark.parametrize("name", MODEL)
def test_every_default_is_within_its_bounds(name: str) -> None:
    struct, table = MODEL[name]
    checked = 0
    for field in msgspec.structs.fields(struct):
        reader = table.get(field.encode_name)
        if field.required or field.default in (None, "", ()) or isinstance(reader, keys.Inline):
            continue
        assert reader is not None
        written = field.default
        if isinstance(reader, keys.Duration):
            written = format_duration(field.default)
        elif isinstance(reader, keys.Size):
            written = format_size(field.default)
        elif isinstance(reader, keys.Mode):
            written = f"{field.default:04o}"
        assert not isinstance(reader, keys.Each | keys.Several)
        assert reader.read(written) == field.default, field.name
        checked += 1
    assert checked > 0


def test_what_stands_above_the_tables_of_a_backend_is_known_to_the_model() -> None:
    fields = {field.name: field for field in msgspec.structs.fields(Backend)}
    assert set(keys.BACKEND) <= set(fields)
    assert keys.BACKEND["shards"].read(fields["shards"].default) == 1


def test_bounds_between_keys_name_keys_that_exist() -> None:
    known = set(keys.BACKEND) | {
        f"{t}.{k}" for t, table in {**keys.TABLES, **keys.PROTOCOL_TABLES}.items() for k in table
    }
    assert {key for pair in keys.NOT_ABOVE for key in pair} <= known


@pytest.mark.parametrize(
    ("reader", "good", "bad"),
    [
        (keys.Count(1, 8), [1, 8], [0, 9, True, "1", 1.0]),
        (keys.CountOr(1, 8, "auto", 0), [1, 8, "auto"], [0, 9, True, "1", "AUTO", "", None]),
        (keys.Duration(1.0, 60.0), ["1s", "1m"], [0, "0s", "999ms", "61s"]),
        (keys.Duration(1.0, 60.0, zero="never"), [0, "0s", "1s"], ["999ms"]),
        (keys.Size(1, 1024), ["1B", "1KiB"], [0, "2KiB"]),
        (keys.OneOf(("a", "b")), ["a"], ["c", "", 1, ["a"]]),
        (keys.OneOf(keys.PROTOCOLS), ["http", "redis"], ["HTTP", 1, ["http"]]),
        (keys.Flag(), [True, False], [0, 1, "true", None]),
        (keys.Secret(), ["x", "x y", "x" * 8192], ["", 1, "x" * 8193]),
        (
            keys.Text(keys.check_command),
            ["get", "config|set", "FT.SEARCH"],
            ["", "config set", "a|b|c", "|", 1],
        ),
        (keys.Text(keys.check_name), ["com.acme.Orders", "größe"], ["", "a b", "a\n", "x" * 256, 1]),
        (keys.Text(keys.check_file), ["/run/x"], ["", "x", "/run/", "/a\0b", 1]),
        (keys.Mode(), ["0600", "0660", "0777"], ["660", "0460", "0668", "00660", 660, 0o660, "", "0o660"]),
        (keys.Text(parse_listen_tcp), ["127.0.0.1:9180", "[::1]:0"], ["unix:/run/x", "localhost:1", ":1", 1]),
        (keys.AdminPath(), ["/run/x.sock", "unix:/run/x.sock"], ["x.sock", "", 1]),
    ],
)
def test_a_reader_takes_what_is_within_its_bounds(
    reader: keys.Count, good: list[object], bad: list[object]
) -> None:
    for value in good:
        reader.read(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"."):
            reader.read(value)


# -- as an operator would write it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("workers", 4, "4"),
        ("workers", AUTO, '"auto"'),
        ("memory", 1024**3, '"1GiB"'),
        ("drain_timeout", 0.0, "0"),
        ("admin", "", "not written"),
        ("admin_mode", 0o660, '"0660"'),
        ("admin_tcp", "127.0.0.1:9180", '"127.0.0.1:9180"'),
        ("protocol", "http", '"http"'),
        ("shards", 2, "2"),
        ("queue.timeout", 0.5, '"500ms"'),
        ("upstream.abandoned_bytes", 0, '"0B"'),
        ("upstream.max_pinned", None, "not written"),
        ("upstream.max_pinned", 0, "0"),
        ("upstream.servers", ("a:1", "b:2"), ["a:1", "b:2"]),
        ("clients.from", (), []),
        ("redis.batch.delay", 0.005, '"5ms"'),
        ("redis.username", "", "not written"),
        ("redis.username", "cache", '"cache"'),
        ("redis.password_file", "/run/x", '"/run/x"'),
        ("redis.auth", "passthrough", '"passthrough"'),
        ("redis.deny", ("config|set",), ["config|set"]),
        ("http.routes", (Route("a"), Route("*.b", tls=True)), ['host = "a"', 'host = "*.b", tls = true']),
        (
            "http.routes",
            (Route("a", ("b:1", "c:2"), queue=RouteQueue(timeout=0.5)),),
            ['host = "a", servers = ["b:1", "c:2"], queue = { timeout = "500ms" }'],
        ),
        ("upstream.tls", None, "not written"),
        ("upstream.tls", UpstreamTls(), "{}"),
        ("upstream.tls", UpstreamTls(verify=False), "{ verify = false }"),
        ("clients.tls", ClientsTls("/a.pem"), '{ cert_file = "/a.pem" }'),
        (
            "dubbo.limits",
            (Limit("S", 10), Limit("S", 2, "m", timeout=0.5)),
            ['service = "S", actives = 10', 'service = "S", actives = 2, method = "m", timeout = "500ms"'],
        ),
    ],
)
def test_a_value_is_shown_as_it_would_be_written(key: str, value: object, text: str | list[str]) -> None:
    assert keys.shown(key, value) == text


@pytest.mark.parametrize("key", ["redis.password", "redis.client_password"])
def test_of_a_password_is_told_whether_there_is_one(key: str) -> None:
    assert keys.shown(key, "hush") == keys.HIDDEN
    assert keys.shown(key, "") == "not written"


def test_a_name_that_is_none_may_be_a_password() -> None:
    assert keys.shown("redis.username", "user:hush") == keys.HIDDEN


def test_every_key_of_the_table_is_found_by_its_name() -> None:
    known = {**READERS, **keys.NODE}
    assert {key: keys.reader_of(key) for key in known} == known


@given(st.data())
def test_what_is_shown_is_what_the_reader_takes(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([k for k, r in READERS.items() if isinstance(r, keys.Count | keys.Size)]))
    reader = READERS[key]
    assert isinstance(reader, keys.Count | keys.Size)
    value = data.draw(value_of(key, reader))
    text = keys.shown(key, value)
    assert isinstance(text, str)
    assert reader.read(int(text) if isinstance(reader, keys.Count) else text.strip('"')) == value
