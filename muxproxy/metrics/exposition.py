"""Snapshots to Prometheus' text format (version 0.0.4): pure, driven by one table, invents nothing.

`backends` maps a name to what the supervisor knows of it: always its configured bounds and `state`, and the
rest of a `BackendSnapshot` while its worker answers. A number that is not known is left out rather than shown
as zero, so that a worker being replaced gives a gap in a graph and not a false fall.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = dict[str, str]
Sample = tuple[Labels, float]
Read = Callable[[Mapping[str, Any]], Iterator[Sample]]


def exposition(
    version: str, workers: Sequence[Mapping[str, Any]], backends: Mapping[str, Mapping[str, Any]]
) -> str:
    """`workers`: one dict each, with `index`, `state`, `restarts`, `answering` and its own numbers in
    `process`."""
    lines: list[str] = []
    _family(lines, "build_info", "gauge", "Which muxproxy this is.", [({"version": version}, 1)])
    up = [(_worker(worker), float(worker["answering"])) for worker in workers]
    _family(lines, "worker_up", "gauge", "1 if the worker process answers.", up)
    restarts = [(_worker(worker), worker["restarts"]) for worker in workers]
    _family(lines, "worker_restarts_total", "counter", "Times the worker process was replaced.", restarts)
    for key, name, kind, text in _OF_WORKERS:
        known = [(_worker(w), w["process"][key]) for w in workers if key in w.get("process", {})]
        _family(lines, name, kind, text, [each for labels, value in known for each in _kinds(labels, value)])
    whose = [(_label("backend", backend), snapshot) for backend, snapshot in backends.items()]
    for name, kind, text, read in _FAMILIES:
        if name == _LIMIT:
            samples = _limits_written(backends)
        else:
            samples = [
                _line(name, backend, labels, value)
                for backend, snapshot in whose
                for labels, value in read(snapshot)
            ]
        if samples:
            _header(lines, name, kind, text)
            lines += samples
    _queue_wait(lines, backends)
    return "\n".join(lines) + "\n"


def _worker(worker: Mapping[str, Any]) -> Labels:
    return {"worker": str(worker["index"])}


def _kinds(labels: Labels, value: int | dict[str, int]) -> list[Sample]:
    if isinstance(value, dict):
        return [(labels | {"kind": kind}, number) for kind, number in value.items()]
    return [(labels, value)]


# Readers: one snapshot to the samples of one family. A key that is absent gives no sample.


def _number(key: str) -> Read:
    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        if key in snapshot:
            yield {}, snapshot[key]

    return read


def _table(key: str, label: str) -> Read:
    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        for name, value in snapshot.get(key, {}).items():
            yield {label: name}, value

    return read


def _outcomes(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    for outcome, reasons in snapshot.get("outcomes", {}).items():
        for reason, count in reasons.items():
            yield {"outcome": outcome, "reason": reason}, count


def _state(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    yield {"state": snapshot["state"]}, 1


def _servers(key: str) -> Read:
    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        for server in snapshot.get("servers", ()):
            yield {"server": server["address"]}, server[key]

    return read


def _server_state(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    for server in snapshot.get("servers", ()):
        yield {"server": server["address"], "state": server["state"]}, 1


def _tls(key: str) -> Read:
    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        for side, told in snapshot.get("tls", {}).items():
            yield {"side": side}, told[key]

    return read


def _days(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
    for told in snapshot.get("tls", {}).values():
        for whose, days in told["days"].items():
            yield {"whose": whose}, days


def _limits(key: str) -> Read:
    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        for name, limit in snapshot.get("limited", {}).items():
            yield {"limit": name}, limit[key]

    return read


def _destinations(key: str) -> Read:
    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        for name, destination in snapshot.get("destinations", {}).items():
            yield {"destination": name}, destination[key]

    return read


def _with_destinations(key: str) -> Read:
    """Of a backend whose requests have any."""

    def read(snapshot: Mapping[str, Any]) -> Iterator[Sample]:
        if snapshot.get("destinations_max"):
            yield {}, snapshot[key]

    return read


_LIMIT = "limit"

# (key of the worker's own numbers, name without the prefix, type, help)
_OF_WORKERS = (
    ("client_sockets", "worker_client_sockets", "gauge", "Client connections of all its backends."),
    (
        "accepting_paused",
        "worker_accept_pauses_total",
        "counter",
        "Times descriptors were too short to accept.",
    ),
    ("memory_held", "worker_held_bytes", "gauge", "What is held for clients that hold much."),
    (
        "memory_kinds",
        "worker_held_bytes_by_kind",
        "gauge",
        "The same: requests that wait, replies that are unread, what is remembered of a client.",
    ),
    ("memory_max", "worker_held_bytes_max", "gauge", "memory in muxproxy.toml."),
    ("memory_shed", "worker_shed_total", "counter", "Clients that were ended because it was too much."),
)

# (name without the prefix, type, help, reader). A bound stands right below what it bounds.
_FAMILIES: tuple[tuple[str, str, str, Read], ...] = (
    ("backend_state", "gauge", "What the backend is doing: 1 for the state it is in.", _state),
    ("clients", "gauge", "Client connections.", _number("clients")),
    ("clients_max", "gauge", "[clients] max_connections.", _number("clients_max")),
    ("waiting", "gauge", "Requests in the queue.", _number("waiting")),
    ("waiting_max", "gauge", "[queue] max_waiting.", _number("waiting_max")),
    ("oldest_wait_seconds", "gauge", "Age of the oldest request in the queue.", _number("oldest_wait")),
    ("queue_timeout_seconds", "gauge", "[queue] timeout.", _number("queue_timeout")),
    ("in_flight", "gauge", "Exchanges sent to a server and not ended.", _number("in_flight")),
    ("upstream_sockets", "gauge", "Sockets towards the servers, of every kind.", _number("upstream_sockets")),
    ("upstream_sockets_max", "gauge", "[upstream] max_connections.", _number("upstream_max")),
    (
        "upstream_sockets_allowed",
        "gauge",
        "Of upstream_sockets_max, what may be open now: less while a bound moves.",
        _number("upstream_allowed"),
    ),
    ("upstream_sockets_by_state", "gauge", "The same sockets, by state.", _table("upstream", "state")),
    (
        "pinned",
        "gauge",
        "Sessions that hold an upstream connection alone, by why.",
        _table("pinned", "reason"),
    ),
    ("pinned_max", "gauge", "[upstream] max_pinned.", _number("pinned_max")),
    ("exchanges_total", "counter", "Exchanges ended, by outcome and reason.", _outcomes),
    ("connects_total", "counter", "Attempts to connect to a server.", _number("connects")),
    ("connect_failures_total", "counter", "Attempts that failed.", _number("connect_failures")),
    ("reused_total", "counter", "Exchanges sent on a connection that had served before.", _number("reused")),
    ("retried_total", "counter", "Exchanges sent a second time.", _number("retried")),
    (
        "destinations",
        "gauge",
        "Destinations that are remembered.",
        _with_destinations("destinations_known"),
    ),
    ("destinations_max", "gauge", "[upstream] max_destinations.", _with_destinations("destinations_max")),
    (
        "destinations_forgotten_total",
        "counter",
        "Destinations that were remembered and are not any more.",
        _with_destinations("destinations_forgotten"),
    ),
    ("destination_sockets", "gauge", "Sockets towards the destination.", _destinations("sockets")),
    (
        "destination_in_flight",
        "gauge",
        "Exchanges sent to the destination and not ended.",
        _destinations("in_flight"),
    ),
    ("destination_waiting", "gauge", "Exchanges that wait for a place there.", _destinations("waiting")),
    ("destination_sent_total", "counter", "Exchanges sent there.", _destinations("sent")),
    (
        "destination_connect_failures_total",
        "counter",
        "Attempts to connect there that failed.",
        _destinations("connect_failures"),
    ),
    ("limit_active", "gauge", "Requests under a limit that a server has in hand.", _limits("active")),
    ("limit_active_max", "gauge", "actives of the limit.", _limits("active_max")),
    ("limit_waiting", "gauge", "Requests that wait for a place under the limit.", _limits("waiting")),
    ("limit_waited_total", "counter", "Requests that had to wait for it and got it.", _limits("waited")),
    (
        "remembered_bytes",
        "gauge",
        "Users, passwords and dbs that have worked ([redis] states_buffer).",
        _number("remembered"),
    ),
    ("events_total", "counter", "What the protocol counts beside exchanges.", _table("events", "event")),
    ("listening", "gauge", "What clients listen to, and how many do.", _table("listening", "what")),
    (
        "pushed_total",
        "counter",
        "Messages for those, interruptions, and clients cut for being behind.",
        _table("pushed", "what"),
    ),
    (
        "upstream_closed_total",
        "counter",
        "Upstream connections not reused, by why.",
        _table("closed", "reason"),
    ),
    ("bytes_total", "counter", "Bytes exchanged with clients.", _table("bytes", "direction")),
    (
        _LIMIT,
        "gauge",
        "What the configuration allows: seconds, bytes or a count.",
        _table("limits", "key"),
    ),
    ("server_state", "gauge", "What a server is to us: 1 for the state it is in.", _server_state),
    ("server_sockets", "gauge", "Sockets towards the server.", _servers("connections")),
    ("server_in_flight", "gauge", "Exchanges the server owes a reply.", _servers("in_flight")),
    ("server_failures", "gauge", "Failures of the server in a row.", _servers("failures")),
    ("tls_verified", "gauge", "1 if certificates of the other side are checked.", _tls("verified")),
    ("tls_handshakes_total", "counter", "Handshakes that were done.", _tls("handshakes")),
    ("tls_resumed_total", "counter", "Of these, by a session that there was.", _tls("resumed")),
    ("tls_failures_total", "counter", "Handshakes that failed.", _tls("failed")),
    ("certificate_days", "gauge", "Days that are left of the certificate that ends first.", _days),
)


def _family(lines: list[str], name: str, kind: str, text: str, samples: Sequence[Sample]) -> None:
    if not samples:
        return
    _header(lines, name, kind, text)
    lines.extend(_sample(name, labels, value) for labels, value in samples)


_written: dict[str, tuple[Mapping[str, float], list[str]]] = {}


def _limits_written(backends: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Most lines of a page are what the configuration says: made once for each (supervisor/status.py gives
    the same object until it changes)."""
    known = {name: snapshot["limits"] for name, snapshot in backends.items() if "limits" in snapshot}
    lines: list[str] = []
    for backend, limits in known.items():
        made = _written.get(backend)
        if made is None or made[0] is not limits:
            texts = [_sample(_LIMIT, {"backend": backend, "key": key}, n) for key, n in limits.items()]
            made = _written[backend] = limits, texts
        lines += made[1]
    for gone in _written.keys() - known.keys():
        del _written[gone]
    return lines


def _queue_wait(lines: list[str], backends: Mapping[str, Mapping[str, Any]]) -> None:
    known = {name: snapshot["queue_wait"] for name, snapshot in backends.items() if "queue_wait" in snapshot}
    if not known:
        return
    _header(lines, "queue_wait_seconds", "histogram", "How long exchanges waited before they were sent.")
    for backend, histogram in known.items():
        labels = {"backend": backend}
        total = 0
        begin = f"muxproxy_queue_wait_seconds_bucket{{{_label('backend', backend)}"
        for bound, count in zip(_bounds(tuple(histogram["bounds"])), histogram["counts"], strict=True):
            total += count  # Prometheus' buckets are cumulative, ours are not
            lines.append(f"{begin},{bound}}} {total}")
        lines.append(_sample("queue_wait_seconds_sum", labels, histogram["sum"]))
        lines.append(_sample("queue_wait_seconds_count", labels, total))


def _header(lines: list[str], name: str, kind: str, text: str) -> None:
    lines.append(f"# HELP muxproxy_{name} {text}")
    lines.append(f"# TYPE muxproxy_{name} {kind}")


def _sample(name: str, labels: Labels, value: float) -> str:
    return f"muxproxy_{name}{{{','.join(map(_label, labels, labels.values()))}}} {_value(value)}"


def _line(name: str, backend: str, labels: Labels, value: float) -> str:
    """As _sample, of a backend's label that is made."""
    if not labels:
        return f"muxproxy_{name}{{{backend}}} {_value(value)}"
    return f"muxproxy_{name}{{{backend},{','.join(map(_label, labels, labels.values()))}}} {_value(value)}"


@lru_cache(maxsize=8)
def _bounds(bounds: tuple[float, ...]) -> list[str]:
    return [f'le="{bound}"' for bound in [*map(_value, bounds), "+Inf"]]


@lru_cache(maxsize=8192)
def _label(name: str, text: str) -> str:
    """Nearly all of them are those of the last scrape."""
    return f'{name}="{_escape(text)}"'


def _value(number: float) -> str:
    if type(number) is int:
        return str(number)
    return repr(number) if isinstance(number, float) and not number.is_integer() else str(int(number))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
