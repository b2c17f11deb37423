"""Facts, made up: a machine on which all is well, and what a test wants to be different."""

from __future__ import annotations

from collections.abc import Mapping

from muxproxy.doctor.facts import Facts, Flow, Holder, Listener, Process, Sight

SETTINGS = {
    "ip_local_port_range": "32768 60999",
    "ip_local_reserved_ports": "",
    "tcp_tw_reuse": "2",
    "tcp_timestamps": "1",
    "somaxconn": "4096",
    "tcp_max_syn_backlog": "1024",
    "tcp_syncookies": "1",
    "nf_conntrack_max": "262144",
    "nf_conntrack_count": "100",
    "file-max": "1000000",
    "file-nr": "1000 0 1000000",
}
SIGHT = Sight(is_root=True, lists=40)
APP = Holder(4711, "python3 app.py", "app", 8, 5)


def flow(
    time_wait: int = 0,
    established: int = 0,
    *,
    source: str = "10.0.0.1",
    host: str = "10.0.0.5",
    **more: object,
) -> Flow:
    """All of its ports in the range."""
    states = {"TIME_WAIT": time_wait, "ESTABLISHED": established}
    fields: dict[str, object] = {
        "source": source,
        "host": host,
        "port": 6379,
        "states": {state: number for state, number in states.items() if number},
        "ports": time_wait + established,
        "opened": more.get("timed", 0.0),
        "holders": (APP,),
    }
    return Flow(**{**fields, **more})


def facts(
    *flows: Flow,
    listeners: tuple[Listener, ...] = (),
    processes: tuple[Process, ...] = (),
    growth: Mapping[str, int] = {},
    sight: Sight = SIGHT,
    **settings: str,
) -> Facts:
    told = {**SETTINGS, **{name.replace("file_", "file-"): value for name, value in settings.items()}}
    return Facts(
        flows=flows,
        listeners=listeners,
        processes=processes,
        settings={name: value for name, value in told.items() if value is not None},
        counters={"Tcp.OutSegs": 0, "TcpExt.ListenOverflows": 0, **growth},
        growth=dict(growth),
        sight=sight,
    )
