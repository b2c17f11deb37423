"""The table of keys and the model agree, and every default is a value that an operator could write."""

from __future__ import annotations

import msgspec
import pytest

from muxproxy.config import keys
from muxproxy.config.model import Clients, Http, Node, Queue, Upstream
from muxproxy.config.units import format_duration, format_size

MODEL = {
    "": (Node, keys.NODE),
    "clients": (Clients, keys.TABLES["clients"]),
    "queue": (Queue, keys.TABLES["queue"]),
    "upstream": (Upstream, keys.TABLES["upstream"]),
    "http": (Http, keys.PROTOCOL_TABLES["http"]),
}
NOT_WRITTEN = {"file"}  # filled in by load.py


def test_every_table_of_the_model_has_its_keys() -> None:
    assert {*keys.TABLES, *keys.PROTOCOL_TABLES, ""} == set(MODEL)
    assert set(keys.PROTOCOL_TABLES) <= set(keys.PROTOCOLS)


@pytest.mark.parametrize("name", MODEL)
def test_model_and_keys_agree(name: str) -> None:
    struct, table = MODEL[name]
    assert set(struct.__struct_fields__) - NOT_WRITTEN == set(table)


@pytest.mark.parametrize("name", MODEL)
def test_every_default_is_within_its_bounds(name: str) -> None:
    struct, table = MODEL[name]
    checked = 0
    for field in msgspec.structs.fields(struct):
        if field.name in NOT_WRITTEN or field.required or field.default in (None, ""):
            continue
        reader = table[field.name]
        written = field.default
        if isinstance(reader, keys.Duration):
            written = format_duration(field.default)
        elif isinstance(reader, keys.Size):
            written = format_size(field.default)
        assert not isinstance(reader, keys.Each)
        assert reader.read(written) == field.default, field.name
        checked += 1
    assert checked > 0


def test_bounds_between_keys_name_keys_that_exist() -> None:
    known = {f"{t}.{k}" for t, table in {**keys.TABLES, **keys.PROTOCOL_TABLES}.items() for k in table}
    assert {key for pair in keys.NOT_ABOVE for key in pair} <= known


@pytest.mark.parametrize(
    ("reader", "good", "bad"),
    [
        (keys.Count(1, 8), [1, 8], [0, 9, True, "1", 1.0]),
        (keys.Duration(1.0, 60.0), ["1s", "1m"], [0, "0s", "999ms", "61s"]),
        (keys.Duration(1.0, 60.0, zero="never"), [0, "0s", "1s"], ["999ms"]),
        (keys.Size(1, 1024), ["1B", "1KiB"], [0, "2KiB"]),
        (keys.OneOf(("a", "b")), ["a"], ["c", "", 1, ["a"]]),
        (keys.ProtocolName(), ["http"], ["redis", "HTTP", 1, ["http"]]),
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


def test_a_protocol_of_later_versions_is_called_not_yet() -> None:
    with pytest.raises(ValueError, match="not yet: this version speaks http"):
        keys.ProtocolName().read("redis")
