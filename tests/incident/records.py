"""A recording as a replay would leave it, for the tests of what shows it."""

from __future__ import annotations

from muxproxy.incident.record import Leg, Recording, Sample


def recorded() -> Recording:
    direct = Leg("direct", "Direct", "as it was", 2.0)
    for tenth in range(21):
        waits = min(100 * tenth, 1500)
        client = {"ESTABLISHED": 50, "TIME_WAIT": waits, "SYN_SENT": 1, "FIN_WAIT2": 2}
        server = {"ESTABLISHED": 50}
        direct.samples.append(Sample(tenth / 10, client, server, 50, 10 * tenth, max(0, tenth - 15)))
    direct.state, direct.requests = "done", 200
    direct.errors = {"dial: connect: Cannot assign requested address": 5}
    direct.latency = {"p50": 0.02, "p90": 0.1, "p99": 1.5, "max": 2.0}
    through = Leg("muxproxy", "Through muxproxy", "unchanged", 2.0, bound=8)
    through.samples = [Sample(t / 10, {"ESTABLISHED": 8}, {"ESTABLISHED": 8}, 300, 9 * t) for t in range(20)]
    through.state, through.requests = "done", 171
    through.latency = {"p50": 0.001, "p90": 0.01, "p99": 0.02, "max": 0.02}
    through.facts = ["Redis: 5 µs of CPU per command"]
    return Recording(
        name="redis",
        title="Redis: what happened",
        story="Why it did.",
        unit="commands",
        size="small",
        namespaces=True,
        settings={"ip_local_port_range": "32768 34267", "tcp_tw_reuse": "0"},
        machine={"cpus": "2"},
        notes=["a note"],
        config='protocol = "redis"\n',
        legs=[direct, through],
    )
