"""What overflows on this machine: listen queues, descriptors, the table of connections, of SYNs, of
TIME_WAITs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from muxproxy.doctor.facts import Facts, Listener, Process
from muxproxy.doctor.judging.words import counter, named, setting
from muxproxy.doctor.report import Evidence, Finding, Level, count, percent

HALF, NEARLY, FULL = 0.5, 0.75, 0.9


def findings(facts: Facts) -> Iterator[Finding]:
    for listener in facts.listeners:
        yield from _queue(listener, facts)
    yield from _overflows(facts)
    for process in facts.processes:
        yield from _descriptors(process)
    yield from _files(facts)
    yield from _conntrack(facts)
    yield from _syns(facts)
    yield from _buckets(facts)


def _queue(listener: Listener, facts: Facts) -> Iterator[Finding]:
    is_full = 0 < listener.backlog <= listener.queue
    is_filling = 0 < HALF * listener.backlog <= listener.queue
    if not (is_full or is_filling or listener.dropped):
        return
    wrong = is_full or listener.dropped_now > 0
    now = f", {listener.dropped_now:,} of them now" if listener.dropped_now else ", none of them now"
    dropped = ""
    if listener.dropped:
        dropped = f"; {count(listener.dropped, 'connect')} dropped since it was opened{now}"
    yield Finding(
        Level.WRONG if wrong else Level.WARNING,
        "queue",
        f"{_owner(listener)} does not accept fast enough at {listener.address}: "
        f"{listener.queue:,} of {listener.backlog:,} places of its listen queue are taken{dropped}",
        _deeper(listener, facts),
        (
            Evidence(
                f"queue {listener.queue:,}, backlog {listener.backlog:,}, dropped {listener.dropped:,}",
                f"sock_diag (Recv-Q, Send-Q, skmem d): ss -ltnm sport = :{listener.port}",
            ),
            counter(facts, "TcpExt.ListenOverflows"),
            setting(facts, "somaxconn", "net/core/somaxconn"),
        ),
        weight=listener.queue / max(1, listener.backlog) + listener.dropped_now,
    )


def _owner(listener: Listener) -> str:
    return named(listener.holders[0]) if listener.holders else "the process that listens"


def _deeper(listener: Listener, facts: Facts) -> str:
    """The kernel's cap first; a program that asked for less has to be told by its own configuration."""
    cap = int(facts.settings.get("somaxconn", "4096"))
    if listener.backlog >= cap:
        line = f"sysctl -w net.core.somaxconn={max(4096, 4 * cap)}"
        return f"{line}    # and restart the program, whose listen() it caps"
    own = "muxproxy: [clients] backlog, nginx: listen ... backlog=, redis: tcp-backlog"
    return f"# raise its own backlog, {listener.backlog} ({own}), or give it more CPU"


def _overflows(facts: Facts) -> Iterator[Finding]:
    """Those of a socket that is not in the list any more."""
    grown = facts.growth.get("TcpExt.ListenOverflows", 0)
    if grown > sum(listener.dropped_now for listener in facts.listeners):
        yield Finding(
            Level.WRONG,
            "queue",
            f"listen queues overflow: {count(grown, 'connect')} dropped in {facts.sight.seconds:.1f} s",
            "ss -ltn",
            (counter(facts, "TcpExt.ListenOverflows"), counter(facts, "TcpExt.ListenDrops")),
            weight=1.0,
        )


def _descriptors(process: Process) -> Iterator[Finding]:
    share = process.descriptors / process.limit if process.limit else 0.0
    if share < NEARLY:
        return
    more = max(65_536, 4 * process.limit)
    yield Finding(
        Level.WRONG if share >= FULL else Level.WARNING,
        "descriptors",
        f"{process.name} (pid {process.pid}, user {process.user}) has {process.descriptors:,} of "
        f"{process.limit:,} descriptors ({percent(process.descriptors, process.limit)}): "
        'beyond them "Too many open files"',
        f"prlimit --pid {process.pid} --nofile={more}:{more}    # and LimitNOFILE={more} in its unit",
        (
            Evidence(
                f"{process.descriptors:,} open, soft limit {process.limit:,}",
                f"/proc/{process.pid}/fd, /proc/{process.pid}/limits",
            ),
        ),
        weight=share,
    )


def _files(facts: Facts) -> Iterator[Finding]:
    used = int((facts.settings.get("file-nr") or "0").split()[0])
    most = int(facts.settings.get("file-max", "0"))
    if most and used >= FULL * most:
        yield Finding(
            Level.WRONG,
            "descriptors",
            f"the whole machine has {used:,} of {most:,} files open ({percent(used, most)})",
            f"sysctl -w fs.file-max={2 * most}",
            (setting(facts, "file-nr", "fs/file-nr"),),
            weight=used / most,
        )


def _conntrack(facts: Facts) -> Iterator[Finding]:
    most = int(facts.settings.get("nf_conntrack_max", "0"))
    used = int(facts.settings.get("nf_conntrack_count", "0"))
    if not most or used < NEARLY * most:
        return
    yield Finding(
        Level.WRONG if used >= FULL * most else Level.WARNING,
        "conntrack",
        f"the firewall's table of connections has {used:,} of {most:,} entries ({percent(used, most)}): "
        "when it is full, packets of new connections are dropped in silence",
        f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",
        (
            setting(facts, "nf_conntrack_count", "net/netfilter/nf_conntrack_count"),
            setting(facts, "nf_conntrack_max", "net/netfilter/nf_conntrack_max"),
        ),
        weight=used / most,
    )


def _syns(facts: Facts) -> Iterator[Finding]:
    dropped = facts.growth.get("TcpExt.TCPReqQFullDrop", 0)
    cookies = facts.growth.get("TcpExt.TCPReqQFullDoCookies", 0)
    if not dropped and not cookies:
        return
    now = int(facts.settings.get("tcp_max_syn_backlog", "1024"))
    yield Finding(
        Level.WRONG if dropped else Level.WARNING,
        "syn",
        f"more connects begin than listeners take: {dropped:,} SYNs dropped, {cookies:,} got a cookie",
        f"sysctl -w net.ipv4.tcp_max_syn_backlog={max(4096, 4 * now)}",
        (
            counter(facts, "TcpExt.TCPReqQFullDrop"),
            counter(facts, "TcpExt.TCPReqQFullDoCookies"),
            setting(facts, "tcp_max_syn_backlog", "net/ipv4/tcp_max_syn_backlog"),
        ),
        weight=1.0,
    )


def _buckets(facts: Facts) -> Iterator[Finding]:
    if not facts.growth.get("TcpExt.TCPTimeWaitOverflow", 0):
        return
    now = int(facts.settings.get("tcp_max_tw_buckets", "0"))
    yield Finding(
        Level.WARNING,
        "time_wait",
        f"the kernel keeps no more than {now:,} TIME_WAITs, and drops the rest before their time: "
        "late segments of an old connection may meet a new one",
        f"sysctl -w net.ipv4.tcp_max_tw_buckets={max(262_144, 2 * now)}",
        (
            counter(facts, "TcpExt.TCPTimeWaitOverflow"),
            setting(facts, "tcp_max_tw_buckets", "net/ipv4/tcp_max_tw_buckets"),
        ),
    )
