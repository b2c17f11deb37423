"""TOML files -> the frozen model, and every problem of every file at once.

PATH is a directory (`muxproxy.toml`, may be empty or absent, and `backends/*.toml`) or one backend's file:

    examine(path) -> Reading(config, problems, warnings)      `muxproxy check`
    load(path) -> Config, raises ConfigError                  everybody else

Each file is read key by key against keys.py; a key that is wrong is left out and the rest is read on. Rules
between two keys are in consistency.py and asked only where both keys are good, so that one slip gives one
message.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muxproxy.config import consistency, exposure, keys, secrets
from muxproxy.config.identity import UnknownNameError, admin_owner, identity
from muxproxy.config.keys import NODE_FILE
from muxproxy.config.model import (
    EVERYWHERE,
    PATIENCE,
    SECRETS,
    Backend,
    Batch,
    Clients,
    ClientsTls,
    Config,
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
from muxproxy.config.tls.files import unreadable, unusable
from muxproxy.errors import ConfigError, Problem

BACKENDS = "backends"
FLEXIBLE = (
    "max_connections",
    "backlog",
)  # of [clients]: cost descriptors, and may be lowered if nobody wrote them
_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Reading:
    config: Config | None  # None if there are problems
    problems: list[Problem]
    warnings: list[Problem]


@dataclass(slots=True)
class _File:
    """One file while it is read."""

    path: str
    problems: list[Problem] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)  # dotted keys that are wrong or missing

    def complain(self, key: str, value: object, rule: str) -> None:
        self.bad.add(key)
        written = "" if value is None or secrets.is_hidden(key, value) else _written(value)
        self.problems.append(Problem(self.path, key, written, rule))


def load(path: Path) -> Config:
    """Raises ConfigError with every problem there is."""
    reading = examine(path)
    if reading.config is None:
        raise ConfigError(reading.problems)
    return reading.config


def load_node(path: Path) -> Node:
    """Only muxproxy.toml: `status` finds a running muxproxy even while a backend's file is being edited."""
    file = _File(str(path / NODE_FILE))
    try:
        node = _node(file) if path.is_dir() else Node()
    except OSError as error:
        raise ConfigError([Problem(str(path), "", "", f"cannot be read: {error.strerror}")]) from None
    if file.problems:
        raise ConfigError(file.problems)
    return node


def examine(path: Path) -> Reading:
    node_file = _File(str(path / NODE_FILE))
    place = _File(str(path))  # problems of the whole, not of one file
    warnings: list[Problem] = []
    node = Node()
    paths: list[Path] = []
    try:
        if path.is_dir():
            node = _node(node_file)
            paths, warnings = _backend_files(path)
            if not paths:
                place.complain("", None, f"no backends: there is no {BACKENDS}/*.toml in this directory")
        elif path.name == NODE_FILE:
            rule = f"is the whole node's file: give its directory, {path.absolute().parent}"
            place.complain("", None, rule)
        elif not path.exists():
            place.complain("", None, "no such file or directory")
        else:
            paths = [path]
    except OSError as error:  # somebody else's directory
        place.complain("", None, f"cannot be read: {error.strerror}")
    drafts = [_backend(p) for p in paths]
    problems = place.problems + node_file.problems + [p for _, file in drafts for p in file.problems]
    problems += consistency.collisions(node, [backend for backend, _ in drafts if backend is not None])
    backends = tuple(
        consistency.with_listeners(node, [backend for backend, _ in drafts if backend is not None])
    )
    warnings += _unreadable(node, backends)
    warnings += exposure.warnings([path, path / BACKENDS], path / NODE_FILE, backends)
    config = None if problems else Config(node=node, backends=backends)
    if config is not None:
        warnings += consistency.warnings(config)
    return Reading(config, problems, warnings)


def _unreadable(node: Node, backends: tuple[Backend, ...]) -> list[Problem]:
    try:
        who = identity(node)
    except UnknownNameError:  # which is a problem of its own
        return []
    return [problem for backend in backends for problem in unreadable(backend, node.user, who)]


def _backend_files(directory: Path) -> tuple[list[Path], list[Problem]]:
    """The backends' files by name, and warnings about files that look meant and are not read."""
    rule = f"not read: a backend is {directory / BACKENDS}/NAME.toml"
    strays = [p for p in directory.glob("*.toml") if p.name != NODE_FILE]
    backends: list[Path] = []
    folder = directory / BACKENDS
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        # Dot-files and `x.toml~` are editors' own; a typing error in `.toml` should not go unseen.
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        (backends if path.suffix == ".toml" else strays).append(path)
    return backends, [Problem(str(p), "", "", rule) for p in sorted(strays)]


def _node(file: _File) -> Node:
    document = _parse(file, is_optional=True)
    tables = {**keys.TABLES, **keys.PROTOCOL_TABLES}
    backend_words = [*keys.BACKEND, *tables, *(key for table in tables.values() for key in table)]
    values = _table(file, "", document, keys.NODE, others={"a backend's file": backend_words})
    node = Node(**values, file=file.path)
    if node.group and not node.user and "user" not in file.bad:
        file.complain("group", node.group, "needs user")
    for known in (identity, admin_owner):
        try:
            known(node)
        except UnknownNameError as error:
            file.complain(error.key, getattr(node, error.key), str(error))
    return node


def _backend(path: Path) -> tuple[Backend | None, _File]:
    """The backend as far as it can be read, None if not at all. Whole only if the file has no problems."""
    file = _File(str(path))
    if path.suffix != ".toml":
        file.complain("", None, "a backend's file is named NAME.toml")
    elif keys.BACKEND_NAME.fullmatch(path.stem) is None:
        file.complain("", None, f"the file's name is the backend's: {keys.BACKEND_NAME_RULE}")
    document = _parse(file)
    if file.problems and not document:
        return None, file
    top = {"protocol": "", **_top(file, document)}
    protocol = top["protocol"]
    values = {name: _known_table(file, document, name) for name in keys.TABLES}
    patience = PATIENCE.get(protocol, {})
    for name in keys.PROTOCOL_TABLES:
        values[name] = _known_table(file, document, name) if protocol == name else {}
    _read_secrets(file, values["redis"])
    _unknown_tables(file, document, protocol)
    needed = [("clients", "listen", "127.0.0.1:8080")]
    to_servers = values["upstream"].get("to", "servers") == "servers"
    queue = patience.get("queue", {}) | ({} if to_servers else {"max_waiting": EVERYWHERE})
    if to_servers and "upstream.to" not in file.bad:
        needed.append(("upstream", "servers", "10.0.0.5:80"))
    for table, key, example in needed:
        if key not in values[table] and f"{table}.{key}" not in file.bad and table not in file.bad:
            file.complain(f"{table}.{key}", None, f'missing; write in [{table}]: {key} = ["{example}"]')
    backend = Backend(
        name=path.stem,
        **top,
        clients=_clients(values["clients"]),
        upstream=_upstream({**patience.get("upstream", {}), **values["upstream"]}),
        queue=Queue(**{**queue, **values["queue"]}),
        http=Http(**{**values["http"], "routes": _routes(values["http"])}),
        redis=Redis(**{**values["redis"], "batch": Batch(**values["redis"].get("batch", {}))}),
        dubbo=Dubbo(**{**values["dubbo"], "limits": _limits(values["dubbo"])}),
        tcp=Tcp(**values["tcp"]),
        file=file.path,
        flexible=tuple(key for key in FLEXIBLE if key not in values["clients"]),
    )
    file.problems += consistency.contradictions(backend, file.bad)
    file.problems += unusable(backend)
    return backend, file


def _clients(values: dict[str, Any]) -> Clients:
    """`from` is a word of Python's."""
    values = {"listen": (), **values}
    shown = values.pop("tls", None)
    return Clients(from_=values.pop("from", ()), tls=None if shown is None else ClientsTls(**shown), **values)


def _upstream(values: dict[str, Any]) -> Upstream:
    asked = values.pop("tls", None)
    return Upstream(tls=None if asked is None else UpstreamTls(**asked), **values)


def _limits(dubbo: dict[str, Any]) -> tuple[Limit, ...]:
    """Those that can be made; one that lacks what it must have is a problem already."""
    return tuple(Limit(**entry) for entry in dubbo.get("limits", ()) if {"service", "actives"} <= set(entry))


def _routes(http: dict[str, Any]) -> tuple[Route, ...]:
    """Likewise."""
    return tuple(
        Route(**{**entry, "queue": RouteQueue(**entry.get("queue", {}))})
        for entry in http.get("routes", ())
        if "host" in entry
    )


def _read_secrets(file: _File, redis: dict[str, Any]) -> None:
    for key in SECRETS:
        path = redis.get(f"{key}_file")
        if path is None:
            continue
        if key in redis:
            file.complain(f"redis.{key}_file", path, f"either this or {key}, not both")
            continue
        try:
            redis[key] = secrets.read(Path(path))
        except ValueError as error:
            file.complain(f"redis.{key}_file", path, str(error))


def _parse(file: _File, is_optional: bool = False) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(file.path).read_bytes().decode("utf-8-sig"))  # Windows' editors' mark
    except tomllib.TOMLDecodeError as error:  # says line and column
        file.complain("", None, f"not TOML: {error}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        file.complain("", None, f"not TOML: not UTF-8 (at line {line})")
    except OSError as error:
        if not (is_optional and isinstance(error, FileNotFoundError)):
            file.complain("", None, f"cannot be read: {error.strerror}")
    return {}


def _top(file: _File, document: dict[str, Any]) -> dict[str, Any]:
    """What stands above the tables of a backend's file and is good."""
    if "protocol" not in document:
        file.complain("protocol", None, f'missing; write at the top: protocol = "{keys.PROTOCOLS[0]}"')
    known = {key: document[key] for key in keys.BACKEND if key in document}
    return _table(file, "", known, keys.BACKEND, others={})


def _known_table(file: _File, document: dict[str, Any], name: str) -> dict[str, Any]:
    content = document.get(name, {})
    if not isinstance(content, dict):
        file.complain(name, content, f"a table: [{name}]")
        return {}
    table = {**keys.TABLES, **keys.PROTOCOL_TABLES}[name]
    others = {**_all_backend_keys(but=name), NODE_FILE: list(keys.NODE)}
    return _table(file, name, content, table, others)


def _unknown_tables(file: _File, document: dict[str, Any], protocol: str) -> None:
    """What stands at the top of the file and is neither the protocol's name nor a table of this protocol."""
    own = [*keys.TABLES, *([protocol] if protocol else [])]
    for name, content in document.items():
        if name in own or name in keys.BACKEND:
            continue
        if name in keys.PROTOCOLS:
            # Without a good protocol nobody knows whether the table is right: one message is enough.
            if protocol:
                file.complain(
                    name, None, f'[{name}] belongs to protocol = "{name}", this backend\'s is "{protocol}"'
                )
        elif isinstance(content, dict):
            file.complain(name, None, f"unknown table{_suggest(name, own)}")
        else:
            others = {**_all_backend_keys(), NODE_FILE: list(keys.NODE)}
            file.complain(name, *_unknown(name, content, list(keys.BACKEND), others))


def _table(
    file: _File, prefix: str, content: dict[str, Any], table: keys.Table, others: dict[str, list[str]]
) -> dict[str, Any]:
    """The values that are good; a problem for each one that is not."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        dotted = f"{prefix}.{key}" if prefix else key
        reader = table.get(key)
        if reader is None:
            file.complain(dotted, *_unknown(key, value, list(table), others))
            continue
        good = _value(file, dotted, value, reader)
        if good is not None:
            values[key] = good
    return values


def _value(file: _File, dotted: str, value: object, reader: keys.Reader) -> Any:
    """None if it is wrong, and a problem for it."""
    if isinstance(reader, keys.Each):
        return _items(file, dotted, value, reader)
    if isinstance(reader, keys.Several):
        return _several(file, dotted, value, reader)
    if isinstance(reader, keys.Section):
        return _section(file, dotted, value, reader)
    if isinstance(reader, keys.Inline):
        if isinstance(value, dict):
            return _table(file, dotted, value, reader.table, others={})
        file.complain(dotted, value, f"a table: {{ {', '.join(f'{key} = ...' for key in reader.table)} }}")
        return None
    try:
        return reader.read(value)
    except ValueError as error:
        file.complain(dotted, value, str(error))
    return None


def _section(file: _File, dotted: str, value: object, reader: keys.Section) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        file.complain(dotted, value, f"a table of its own: [{dotted}]")
        return None
    values = _table(file, dotted, value, reader.table, others={})
    missing = [key for key in reader.required if key not in values]
    for key in missing:
        if key not in value:
            file.complain(f"{dotted}.{key}", None, "missing")
    return None if missing else values


def _several(file: _File, dotted: str, value: object, reader: keys.Several) -> list[dict[str, Any]] | None:
    """Its tables, counted from 1 as people count them in a file: `dubbo.limits[2].actives`."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        file.complain(dotted, value, f"tables of their own: [[{dotted}]]")
        return None
    tables = []
    for number, item in enumerate(value, 1):
        place = f"{dotted}[{number}]"
        tables.append(_table(file, place, item, reader.table, others={}))
        for key in reader.required:
            if key not in item:
                file.complain(f"{place}.{key}", None, "missing")
    return tables


def _items(file: _File, dotted: str, value: object, reader: keys.Each) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) < reader.least:
        what = "a list of at least one string" if reader.least else "a list of strings"
        file.complain(dotted, value, f"{what}{_listed(value, reader)}")
        return None
    good = []
    for item in value:
        try:
            good.append(reader.item.read(item))
        except ValueError as error:
            file.complain(dotted, item, str(error))
    return tuple(good)


def _listed(value: object, reader: keys.Each) -> str:
    if not isinstance(value, str):
        return ""
    try:
        reader.item.read(value)
    except ValueError as error:
        return f": {error}"
    return f"; did you mean [{_written(value)}]?"


def _unknown(key: str, value: object, known: list[str], others: dict[str, list[str]]) -> tuple[object, str]:
    """What is shown of its value, and the rule. `others`: where else a key may stand -> the keys there."""
    homes = [home for home, its_keys in others.items() if key in its_keys]
    if homes:
        return value, f"unknown key here; it belongs to {' or '.join(homes)}"
    if not _close(key, known) and not isinstance(value, int | float):
        value = None  # nobody knows what it is: perhaps a secret under a name that only its writer knows
    return value, f"unknown key{_suggest(key, known)}"


def _close(word: str, known: list[str]) -> list[str]:
    return difflib.get_close_matches(word, known, n=1, cutoff=0.6)


def _suggest(word: str, known: list[str]) -> str:
    close = _close(word, known)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _all_backend_keys(but: str = "") -> dict[str, list[str]]:
    tables = {**keys.TABLES, **keys.PROTOCOL_TABLES}
    homes = {f"[{name}]": list(table) for name, table in tables.items() if name != but}
    # In TOML what stands below a table's head is the table's, whatever it was meant for.
    return {**homes, "the top of the file": list(keys.BACKEND)} if but else homes


def _written(value: object) -> str:
    """As it stands in the file, near enough to be found there."""
    text = json.dumps(_bare(value), ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _bare(value: object) -> object:
    """Without what is in tables: `[[redis]]` is wrong and has a password in it. So has many a URL."""
    if isinstance(value, dict):
        return dict.fromkeys(value, "...")
    if isinstance(value, str):
        return secrets.masked(value)
    return [_bare(item) for item in value] if isinstance(value, list) else value
