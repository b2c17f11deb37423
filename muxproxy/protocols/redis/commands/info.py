"""What servers say of commands: the entries of COMMAND and COMMAND INFO, Redis 3 to 8, Valkey 7 to 9.

An entry is name, arity, flags, three numbers about keys; since 6.0 ACL categories; since 7.0 tips, key
specifications and subcommands. Only names, flags and the one category that is like a flag are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from muxproxy.protocols.redis.resp.values import Value

Flags = dict[str, frozenset[str]]  # `name` or `container|sub`, lower case -> its flags

_NAME, _FLAGS, _CATEGORIES, _SUBCOMMANDS = 0, 2, 6, 9


def flags(entries: Iterable[Value]) -> Flags:
    """Of all that are known, subcommands included: an entry that is None is of a command unknown there."""
    return dict(pair for entry in entries if isinstance(entry, list) and entry for pair in _of(entry))


def _of(entry: list[Value]) -> Iterator[tuple[str, frozenset[str]]]:
    category = {"connection"} if "@connection" in _words(entry, _CATEGORIES) else set()
    yield _text(entry[_NAME]), frozenset(_words(entry, _FLAGS) | category)
    yield from flags(_list(entry, _SUBCOMMANDS)).items()


def _words(entry: list[Value], place: int) -> set[str]:
    return {_text(word) for word in _list(entry, place)}


def _list(entry: list[Value], place: int) -> list[Value]:
    value = entry[place] if len(entry) > place else None
    return value if isinstance(value, list) else []


def _text(value: Value) -> str:
    if not isinstance(value, bytes):
        raise ValueError("a word was expected")
    return value.decode("latin-1").lower()
