"""Every word that operators read stands in the reference: metrics, outcomes, states, reasons, log lines.

And the other way round: what it says that they will see is a word that muxproxy knows. The words are taken
from the code, by import where there is a table and from the syntax trees where there are only calls.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Set

import pytest

from muxproxy.config.model import Backend, Clients, Upstream
from muxproxy.metrics import exposition
from muxproxy.metrics.histogram import Histogram
from muxproxy.protocols import build
from muxproxy.protocols.contract import Reason
from muxproxy.protocols.dubbo.common import COUNTERS
from tests.pages import READMES, ROOT, coded, rows, section

OPERATING = READMES["systemd/README.md"].read_text()
EVERYWHERE = {name: path.read_text() for name, path in READMES.items()}
PACKAGE = ROOT / "muxproxy"
REDIS = Backend(name="b", protocol="redis", clients=Clients(listen=()), upstream=Upstream(servers=()))


@functools.cache
def nodes(room: str) -> list[ast.AST]:
    """Those that the questions below are about, of all files of a room."""
    found: list[ast.AST] = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        found += ast.walk(ast.parse(path.read_text()))
    assert found, room
    return [
        node for node in found if isinstance(node, ast.Call | ast.Assign | ast.AnnAssign | ast.FunctionDef)
    ]


def trees(*rooms: str) -> Iterator[ast.AST]:
    for room in rooms:
        yield from nodes(room)


def texts(node: ast.AST) -> set[str]:
    """The strings that an expression may be, not what a condition compares with."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    if isinstance(node, ast.BoolOp):
        return set().union(*map(texts, node.values))
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def arguments(rooms: tuple[str, ...], methods: Set[str], number: int) -> set[str]:
    """The strings that calls of these methods have as their so-manieth argument."""
    found: set[str] = set()
    for node in trees(*rooms):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            found |= set().union(*map(texts, node.args[number : number + 1]))
    return found


def assigned(rooms: tuple[str, ...], names: Set[str]) -> set[str]:
    """The strings that variables, constants and attributes of these names get."""
    found: set[str] = set()
    for node in trees(*rooms):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(ast.unparse(target).split(".")[-1] in names for target in targets):
            found |= texts(node.value)
    return found - {""}


def returned(rooms: tuple[str, ...], function: str) -> set[str]:
    """The strings that a function of this name returns, or puts into a variable on the way."""
    found: set[str] = set()
    for node in trees(*rooms):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for each in ast.walk(node):
                if isinstance(each, ast.Return | ast.Assign | ast.AnnAssign) and each.value is not None:
                    found |= texts(each.value)
    return found - {""}


def keys_returned(rooms: tuple[str, ...], function: str) -> set[str]:
    """The keys of dicts that functions of this name return."""
    found: set[str] = set()
    for node in trees(*rooms):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            displays = (each for each in ast.walk(node) if isinstance(each, ast.Dict))
            found |= {key.value for each in displays for key in each.keys if isinstance(key, ast.Constant)}
    return found


# -- what there is ------------------------------------------------------------------------------------------


def metrics() -> dict[str, str]:
    """Name -> type."""
    known = {f"muxproxy_{name}": kind for name, kind, _, _ in exposition._FAMILIES}
    known |= {f"muxproxy_{name}": kind for _, name, kind, _ in exposition._OF_WORKERS}
    worker = {"index": 0, "answering": True, "restarts": 0}
    text = exposition.exposition("1", [worker], {"b": {"state": "x", "queue_wait": Histogram().snapshot()}})
    return known | dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))


def outcomes() -> set[str]:
    return {reason.label for reason in Reason}


def upstream_states() -> set[str]:
    return returned(("mux",), "state_of")


def server_states() -> set[str]:
    told = (ROOT / "muxproxy/metrics/snapshot.py").read_text()
    line = re.search(r"state: str  # (\w+(?: \| \w+)+)", told)
    assert line is not None
    return set(line[1].split(" | "))


def events() -> set[str]:
    return arguments(("mux", "worker"), {"count_event"}, 0) | set(COUNTERS)


def closed() -> set[str]:
    """Why upstream connections were not reused."""
    found = arguments(("mux",), {"close", "fail", "count_closed"}, 0)
    found |= assigned(
        ("mux", "worker"),
        {
            "retiring",
            "CONNECT_TIMEOUT",
            "OTHER_TLS",
            "REMOVED",
            "TOO_OLD",
            "RECONNECT",
            "SHED",
            "GIVEN",
            "NOT_ALLOWED",
            "FORGOTTEN",
        },
    )
    found |= returned(("mux",), "_why_not_reusable")
    found |= assigned(("protocols",), {"spoilt", "READ_ONLY", "SAID_CLOSE", "SERVER_OLD", "UPGRADED"})
    return found | assigned(("protocols",), {"READ_UNTIL_CLOSE", "BODY_NOT_ALLOWED", "OLD_LOGIN"})


def pins() -> set[str]:
    found = arguments(("mux",), {"pin"}, 1) | arguments(("protocols",), {"_for_once"}, 0)
    found |= assigned(("mux",), {"STREAMING", "REASON"}) | returned(("protocols",), "_why_pinned")
    found |= assigned(("protocols",), {"pin_reason"})
    for path in (PACKAGE / "protocols/redis").rglob("*.py"):
        alone = re.findall(r'"([a-z]+\|[a-z]+)": (?:\w+\.)?ALONE\b', path.read_text())
        found |= {name.replace("|", " ") for name in alone}
    return found


def log_lines() -> set[str]:
    rooms = ("worker", "mux", "supervisor", "cli")
    found = arguments(rooms, {"log", "info", "warning", "error"}, 0)
    found |= arguments(rooms, {"_log"}, 1) | arguments(("mux",), {"on_stays"}, 0)
    found |= assigned(("mux",), {"event"})
    for node in trees("worker"):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Log":
            found |= texts(node.args[1])
    return found


def of_column(title: str, column: str) -> set[str]:
    return {word for row in rows(section(OPERATING, title)) for word in coded(row[column])}


def metric_rows() -> list[dict[str, str]]:
    return rows(section(OPERATING, "Metrics"))


CLOSED = "Why a connection was not reused"
EVENTS = "Events"


def of_protocol(name: str, title: str, column: str) -> set[str]:
    page = EVERYWHERE[f"muxproxy/protocols/{name}/README.md"]
    return {word for row in rows(section(page, title)) for word in coded(row[column])}


# -- what is told of it -------------------------------------------------------------------------------------


def test_every_metric_stands_in_the_reference_with_its_type() -> None:
    told = {name: row["type"] for row in metric_rows() for name in coded(row["metric"])}
    assert told == metrics()
    assert len(told) > 40


@pytest.mark.parametrize("name", READMES)
def test_a_metric_that_is_named_anywhere_is_one(name: str) -> None:
    assert set(re.findall(r"muxproxy_[a-z_]+", EVERYWHERE[name])) <= metrics().keys()


def test_every_label_of_what_clients_listen_to_stands_in_the_reference() -> None:
    told = {name: coded(row["meaning"]) for row in metric_rows() for name in coded(row["metric"])}
    assert set(told["muxproxy_listening"]) == {"what", *build(REDIS).feed().statistics()}
    assert set(told["muxproxy_pushed_total"]) == {"what", *keys_returned(("mux",), "pushed")}


def test_every_outcome_stands_in_the_reference() -> None:
    table = rows(section(OPERATING, "How a request can end"))
    outcome, told = "", set()
    for row in table:
        outcome = row["outcome"] or outcome
        told |= {(outcome, reason) for reason in coded(row["reason"])}
    assert told == {reason.value for reason in Reason}


def test_every_state_stands_in_the_reference() -> None:
    assert of_column("States of an upstream connection", "state") == upstream_states()
    assert of_column("States of a server", "state") == server_states()


def test_every_event_stands_in_the_reference() -> None:
    assert of_column(EVENTS, "event") | of_protocol("dubbo", EVENTS, "event") == events()


def test_every_reason_not_to_reuse_a_connection_stands_in_the_reference() -> None:
    told = of_column(CLOSED, "reason") | of_protocol("http", CLOSED, "reason")
    assert told == closed()


def test_every_pin_stands_in_the_reference() -> None:
    assert {
        word for word in coded(section(OPERATING, "Why a session is pinned")) if "_" not in word
    } == pins()
    told = of_protocol("redis", "Why a connection is pinned", "reason")
    assert told == pins() - {"upgrade", "tunnel"}


def test_every_log_line_stands_in_the_reference() -> None:
    assert of_column("Log lines", "event") == log_lines()


# What a page says that one will see, and where the words are.
SEEN = {
    "muxproxy_events_total": events,
    "muxproxy_upstream_closed_total": closed,
    "muxproxy_upstream_sockets_by_state": upstream_states,
    "muxproxy_server_state": server_states,
    "muxproxy_pinned": pins,
}


_WORDS = r"`[\w .-]+`(?:(?:, | and )`[\w .-]+`)*"


def strange_words(text: str) -> Iterator[str]:
    """`idle_timeout` of `muxproxy_upstream_closed_total`, outcome `denied`, the log: `worker died`."""
    for words, metric in re.findall(rf"({_WORDS}) of `(muxproxy_\w+)`", text):
        known = SEEN[metric]() | {"reason", "event", "state"} if metric in SEEN else set(coded(words))
        yield from (f"{word} of {metric}" for word in coded(words) if word not in known)
    for words in re.findall(rf"\boutcomes? ({_WORDS})", text):
        yield from (f"outcome {word}" for word in coded(words) if word not in outcomes())
    for words in re.findall(rf"[Tt]he log: ({_WORDS})", text):
        yield from (f"log line {word}" for word in coded(words) if word not in log_lines())


@pytest.mark.parametrize("name", READMES)
def test_what_one_is_told_to_look_for_exists(name: str) -> None:
    assert list(strange_words(EVERYWHERE[name])) == []


def test_a_word_that_nobody_says_is_found() -> None:
    text = (
        "`idle_time` of `muxproxy_upstream_closed_total`, outcomes `denied`, `full`; the log: `worker dyed`"
    )
    assert len(list(strange_words(text))) == 3
