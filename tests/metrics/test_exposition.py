"""The exposition against a parser of Prometheus' text format, written from its documentation."""

from __future__ import annotations

import math
import re

import pytest

from muxproxy.metrics.exposition import exposition
from muxproxy.metrics.histogram import BOUNDS, Histogram

SAMPLE = re.compile(
    r'(?P<name>[a-z_]+)\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (?P<value>\S+)\n'
)
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
COMMENT = re.compile(r"# (HELP|TYPE) ([a-z_]+) ([^\n]+)\n")
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

SUFFIXES = ("_bucket", "_sum", "_count")


def snapshot() -> dict:
    waits = Histogram()
    for seconds in (0.0, 0.0005, 0.3, 100.0):
        waits.observe(seconds)
    return {
        "state": "serving",
        "protocol": "http",
        "draining": False,
        "clients": 2000,
        "clients_max": 10000,
        "waiting": 12,
        "waiting_max": 1000,
        "oldest_wait": 0.125,
        "queue_timeout": 5.0,
        "in_flight": 8,
        "upstream_sockets": 8,
        "upstream_max": 8,
        "upstream": {"connecting": 1, "idle": 0, "busy": 7, "pinned": 0, "draining": 0, "closing": 0},
        "pinned": {"upgrade": 2},
        "pinned_max": 4,
        "outcomes": {"replied": {"ok": 50000}, "refused": {"queue_full": 3, "draining": 1}},
        "connects": 9,
        "connect_failures": 1,
        "reused": 49992,
        "retried": 1,
        "listening": {"channels": 3, "subscribers": 40},
        "pushed": {"messages": 500, "interrupted": 1, "cut": 2},
        "events": {"heartbeats_answered": 6},
        "limited": {"s.create": {"active": 9, "active_max": 10, "waiting": 3, "waited": 7, "expired": 1}},
        "closed": {"server said close": 4, 'odd "reason"\\\nof two lines': 1},
        "queue_wait": waits.snapshot(),
        "bytes": {"from_clients": 10, "to_clients": 20},
        "servers": [
            {
                "address": "10.0.0.5:80",
                "state": "up",
                "connections": 8,
                "in_flight": 8,
                "failures": 0,
                "last_error": "",
            },
        ],
    }


def worker(**changes) -> dict:
    return {"index": 0, "state": "ready", "restarts": 2, "answering": True} | changes


def parse(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Strict: every line is a sample or a comment, comments come first and once, no sample comes twice."""
    samples, kinds, position = {}, {}, 0
    while position < len(text):
        if comment := COMMENT.match(text, position):
            what, name, rest = comment.groups()
            if what == "TYPE":
                assert name not in kinds
                kinds[name] = rest
            position = comment.end()
            continue
        line = SAMPLE.match(text, position)
        assert line, f"not a sample: {text[position : position + 200]!r}"
        name = line["name"]
        family = name if name in kinds else next(name.removesuffix(s) for s in SUFFIXES if name.endswith(s))
        assert kinds[family] == "histogram" or family == name
        assert name.endswith("_total") == (kinds[family] == "counter")
        unescape = re.compile(r"\\.")
        labels = tuple(
            (key, unescape.sub(lambda m: ESCAPES[m[0]], value))
            for key, value in LABEL.findall(line["labels"])
        )
        assert (name, labels) not in samples
        samples[name, labels] = float(line["value"])
        position = line.end()
    return samples


def test_every_number_of_a_snapshot_is_shown_under_its_backend():
    samples = parse(exposition("0.1.0", [worker()], {"web": snapshot()}))
    web = ("backend", "web")
    assert samples["muxproxy_build_info", (("version", "0.1.0"),)] == 1
    assert samples["muxproxy_worker_up", (("worker", "0"),)] == 1
    assert samples["muxproxy_worker_restarts_total", (("worker", "0"),)] == 2
    assert samples["muxproxy_backend_state", (web, ("state", "serving"))] == 1
    assert samples["muxproxy_clients", (web,)] == 2000
    assert samples["muxproxy_oldest_wait_seconds", (web,)] == 0.125
    assert samples["muxproxy_upstream_sockets_by_state", (web, ("state", "busy"))] == 7
    assert samples["muxproxy_pinned", (web, ("reason", "upgrade"))] == 2
    refused = ("outcome", "refused")
    assert samples["muxproxy_exchanges_total", (web, refused, ("reason", "queue_full"))] == 3
    assert samples["muxproxy_limit_active", (web, ("limit", "s.create"))] == 9
    assert samples["muxproxy_events_total", (web, ("event", "heartbeats_answered"))] == 6
    assert samples["muxproxy_listening", (web, ("what", "subscribers"))] == 40
    assert samples["muxproxy_pushed_total", (web, ("what", "cut"))] == 2
    assert samples["muxproxy_bytes_total", (web, ("direction", "to_clients"))] == 20
    server = ("server", "10.0.0.5:80")
    assert samples["muxproxy_server_state", (web, server, ("state", "up"))] == 1
    assert samples["muxproxy_server_sockets", (web, server)] == 8


def test_the_bound_stands_beside_the_sockets():
    lines = [s for s in exposition("0.1.0", [], {"web": snapshot()}).splitlines() if not s.startswith("#")]
    at = lines.index('muxproxy_upstream_sockets{backend="web"} 8')
    assert lines[at + 1] == 'muxproxy_upstream_sockets_max{backend="web"} 8'


def test_label_values_are_escaped():
    samples = parse(exposition("0.1.0", [], {"web": snapshot()}))
    labels = (("backend", "web"), ("reason", 'odd "reason"\\\nof two lines'))
    assert samples["muxproxy_upstream_closed_total", labels] == 1


def test_histogram_buckets_are_cumulative_and_end_at_the_count():
    samples = parse(exposition("0.1.0", [], {"web": snapshot()}))
    buckets = [
        (math.inf if labels[1][1] == "+Inf" else float(labels[1][1]), value)
        for (name, labels), value in samples.items()
        if name == "muxproxy_queue_wait_seconds_bucket"
    ]
    assert [bound for bound, _ in buckets] == [*BOUNDS, math.inf]
    counts = dict(buckets)
    assert (counts[0.001], counts[0.2], counts[0.5], counts[60.0], counts[math.inf]) == (2, 2, 3, 3, 4)
    assert samples["muxproxy_queue_wait_seconds_count", (("backend", "web"),)] == 4
    assert samples["muxproxy_queue_wait_seconds_sum", (("backend", "web"),)] == pytest.approx(100.3005)


def test_a_backend_without_a_worker_shows_its_bounds_and_no_invented_zeros():
    gone = {"state": "worker restarting", "upstream_max": 8, "clients_max": 10, "waiting_max": 5}
    samples = parse(exposition("0.1.0", [worker(answering=False)], {"web": snapshot(), "api": gone}))
    mine = {name: value for (name, labels), value in samples.items() if ("backend", "api") in labels}
    assert mine == {
        "muxproxy_backend_state": 1,
        "muxproxy_clients_max": 10,
        "muxproxy_waiting_max": 5,
        "muxproxy_upstream_sockets_max": 8,
    }
    assert samples["muxproxy_worker_up", (("worker", "0"),)] == 0


def test_no_backend_at_all_is_still_a_valid_exposition():
    samples = parse(exposition("0.1.0", [], {}))
    assert list(samples) == [("muxproxy_build_info", (("version", "0.1.0"),))]


def test_every_limit_and_the_pauses_of_accepting_are_shown():
    mine = snapshot() | {"limits": {"clients.request_buffer": 65536, "queue.timeout": 0.5}}
    busy = worker() | {"process": {"client_sockets": 900, "accepting_paused": 2}}
    samples = parse(exposition("0.1.0", [busy], {"web": mine}))
    limit = {labels[1][1]: value for (name, labels), value in samples.items() if name == "muxproxy_limit"}
    assert limit == {"clients.request_buffer": 65536, "queue.timeout": 0.5}
    assert samples["muxproxy_worker_client_sockets", (("worker", "0"),)] == 900
    assert samples["muxproxy_worker_accept_pauses_total", (("worker", "0"),)] == 2


def test_what_is_held_is_shown_by_kind_and_what_is_remembered_by_backend():
    kinds = {"requests": 10, "unread": 20, "remembered": 30}
    busy = worker() | {"process": {"memory_held": 60, "memory_kinds": kinds, "memory_max": 100}}
    samples = parse(exposition("0.1.0", [busy], {"web": snapshot() | {"remembered": 700}}))
    assert samples["muxproxy_worker_held_bytes", (("worker", "0"),)] == 60
    for kind, size in kinds.items():
        assert samples["muxproxy_worker_held_bytes_by_kind", (("worker", "0"), ("kind", kind))] == size
    assert samples["muxproxy_remembered_bytes", (("backend", "web"),)] == 700


def test_destinations_are_labels_as_many_as_the_snapshot_names() -> None:
    one = {"sockets": 8, "in_flight": 7, "waiting": 1, "sent": 900, "connect_failures": 2}
    told = {
        "state": "serving",
        "destinations": {"10.0.0.5:80": one, "others": one | {"sent": 12}},
        "destinations_known": 40,
        "destinations_max": 1024,
        "destinations_forgotten": 3,
    }
    page = exposition("1", [], {"egress": told})
    assert 'muxproxy_destination_sent_total{backend="egress",destination="10.0.0.5:80"} 900' in page
    assert 'muxproxy_destination_sent_total{backend="egress",destination="others"} 12' in page
    assert 'muxproxy_destinations{backend="egress"} 40' in page
    none = told | {"destinations": {}, "destinations_known": 0, "destinations_max": 0}
    assert "destinations{" not in exposition("1", [], {"plain": none})


def test_each_side_that_is_spoken_to_by_tls_is_shown():
    side = {"verified": False, "handshakes": 9, "resumed": 7, "failed": 1, "error": ""}
    tls = {"upstream": side | {"days": {"upstream": 90.5, "server": 3.25}}, "clients": side | {"days": {}}}
    samples = parse(exposition("0.1.0", [], {"web": snapshot() | {"tls": tls}}))
    upstream = (("backend", "web"), ("side", "upstream"))
    assert samples["muxproxy_tls_verified", upstream] == 0
    assert samples["muxproxy_tls_handshakes_total", upstream] == 9
    assert samples["muxproxy_tls_resumed_total", upstream] == 7
    assert samples["muxproxy_tls_failures_total", upstream] == 1
    assert samples["muxproxy_certificate_days", (("backend", "web"), ("whose", "server"))] == 3.25
