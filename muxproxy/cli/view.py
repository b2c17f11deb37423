"""What `muxproxy status` shows: per backend a block that reads in the order a request flows.

Every number is of metrics/snapshot.py; nothing is measured or guessed here. A backend whose worker does not
answer has only its bounds: rows without numbers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from muxproxy.cli.plain import plain_all
from muxproxy.config.units import format_duration

GOOD_STATES = ("serving", "ready", "up")
FEW_DAYS = 14  # as worker/tls/contexts.py
_SCALE = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def render(report: Mapping[str, Any]) -> RenderableType:
    report = plain_all(dict(report))
    blocks: list[RenderableType] = [_head(report), _workers(report.get("workers", []))]
    for name, backend in report["backends"].items():
        blocks += [Text(), _title(name, backend), _backend(backend)]
    return Group(*blocks)


def _head(report: Mapping[str, Any]) -> Text:
    text = Text.assemble(("muxproxy ", "bold"), str(report.get("version", "")))
    told = {worker.get("process", {}).get("build", "") for worker in report.get("workers", [])} - {""}
    if told:  # by the workers, each of which says what it has loaded
        text.append(f" ({', '.join(sorted(told))})")
    if "state" in report:
        text.append("  ").append_text(_state(str(report["state"])))
    text.append(f"  pid {report.get('pid', '?')}")
    return text.append(f"  up {format_age(report['uptime'])}") if "uptime" in report else text


def _workers(workers: Sequence[Mapping[str, Any]]) -> Table:
    table = _grid(4)
    for worker in workers:
        restarts = worker.get("restarts", 0)
        table.add_row(
            f"  worker {worker.get('index', '?')}",
            f"pid {worker.get('pid') or '-'}",
            _state(str(worker.get("state", "?"))),
            Text(f"{restarts} restart{'s' if restarts > 1 else ''}", "yellow") if restarts else "",
        )
    return table


def _title(name: str, backend: Mapping[str, Any]) -> Text:
    text = Text.assemble((name, "bold"), f"  {backend.get('protocol', '')}")
    if backend.get("listen"):
        text.append(f"  {', '.join(backend['listen'])}")
    state = "draining" if backend.get("draining") else str(backend.get("state", "serving"))
    return text.append("  ").append_text(_state(state))


def _backend(b: Mapping[str, Any]) -> Table:
    table = _grid(3)
    table.add_row("  clients", _of(b, "clients", "clients_max"), "")
    table.add_row("  waiting", _of(b, "waiting", "waiting_max"), _oldest(b))
    table.add_row("  upstream", _of(b, "upstream_sockets", "upstream_max"), _counts(b.get("upstream", {})))
    if b.get("pinned") or b.get("in_flight"):
        table.add_row("  in flight", f"{b.get('in_flight', 0):,}", "")
    if b.get("pinned"):
        pinned = f"{sum(b['pinned'].values()):,} / {b.get('pinned_max', 0):,}"
        table.add_row("  pinned", pinned, _counts(b["pinned"]))
    if b.get("pushed"):
        listening = b.get("listening", {})
        shown = {**{what: count for what, count in listening.items() if what != "subscribers"}, **b["pushed"]}
        table.add_row("  listening", f"{listening.get('subscribers', 0):,}", _counts(shown))
    for name, limit in b.get("limited", {}).items():
        table.add_row("  limit", _of(limit, "active", "active_max"), _limit(name, limit))
    if b.get("destinations_max"):
        forgotten = f"{b['destinations_forgotten']:,} forgotten"
        table.add_row("  destinations", _of(b, "destinations_known", "destinations_max"), forgotten)
    for name, its in b.get("destinations", {}).items():
        table.add_row("  to", name, _counts(its))
    for key, it in b.get("differs", {}).items():
        table.add_row("  set", f"{it['now']:,}", Text(f"{key}, {it['file']:,} in the file", "yellow"))
    for server in b.get("drained_servers", ()):
        table.add_row("  server", server, _state("drained"))
    for remark in b.get("remarks", ()):
        table.add_row("  remark", "", Text(remark, "yellow"))
    for server in b.get("servers", []):
        if server["failures"] or not b.get("destinations"):
            table.add_row("  server", server["address"], _server(server))
    for side, tls in b.get("tls", {}).items():
        table.add_row("  TLS", side, _tls(side, tls))
    for outcome, reasons in b.get("outcomes", {}).items():
        total = sum(reasons.values())
        if total or outcome == "replied":
            table.add_row(f"  {outcome}", f"{total:,}", _counts(reasons))
    if "reused" in b:
        table.add_row("  reuse", *_reuse(b))
    if "queue_wait" in b:
        table.add_row("  queue wait", *_waits(b["queue_wait"]))
    if b.get("closed"):
        table.add_row("  not reused", f"{sum(b['closed'].values()):,}", _counts(b["closed"]))
    if any(b.get("events", {}).values()):
        table.add_row("  events", "", _counts(b["events"]))
    if "bytes" in b:
        sizes = b["bytes"]
        table.add_row("  bytes", "", f"{_size(sizes['from_clients'])} in, {_size(sizes['to_clients'])} out")
    return table


def _of(b: Mapping[str, Any], key: str, bound: str) -> Text:
    """`7 / 8`, or `- / 8` where nobody answered."""
    number = b.get(key)
    text = Text("-" if number is None else f"{number:,}", "bold")
    if number is not None and number >= b.get(bound, number + 1) > 0:
        text.stylize("yellow")
    return text.append(f" / {b.get(bound, 0):,}", "not bold default")


def _oldest(b: Mapping[str, Any]) -> Text:
    if not b.get("waiting"):
        return Text()
    return Text(
        f"oldest {_seconds(b.get('oldest_wait', 0.0))} of {_seconds(b.get('queue_timeout', 0.0))}", "yellow"
    )


def _counts(counts: Mapping[str, int]) -> Text:
    """Largest first, zeros left out."""
    shown = sorted(((count, what) for what, count in counts.items() if count), key=lambda pair: -pair[0])
    return Text(", ".join(f"{what} {count:,}" for count, what in shown))


def _limit(name: str, limit: Mapping[str, int]) -> str:
    waits = f", {limit['waiting']:,} wait" if limit["waiting"] else ""
    return f"{name}{waits}, {limit['waited']:,} have waited, {limit['expired']:,} in vain"


def _server(server: Mapping[str, Any]) -> Text:
    text = _state(server["state"])
    text.append(f"  sockets {server['connections']:,}, in flight {server['in_flight']:,}", "default")
    if server["failures"]:
        text.append(f", failures in a row {server['failures']:,}: {server['last_error']}", "red")
    return text


def _tls(side: str, tls: Mapping[str, Any]) -> Text:
    """Loud where servers may be anybody. Clients need not show who they are."""
    verified = Text("verified", "green") if tls["verified"] else Text("clients not asked")
    text = Text("NOT VERIFIED", "bold red") if side == "upstream" and not tls["verified"] else verified
    text.append(f"  handshakes {tls['handshakes']:,}, resumed {tls['resumed']:,}", "not bold default")
    if tls["failed"]:
        text.append(f", failed {tls['failed']:,}", "not bold red")
    for whose, days in tls["days"].items():
        what = "certificate of a server" if whose == "server" else "own certificate"
        text.append(f", {what} {days:.0f} days", "not bold red" if days < FEW_DAYS else "not bold default")
    if tls["error"]:
        text.append(f", {tls['error']}", "not bold red")
    return text


def _reuse(b: Mapping[str, Any]) -> tuple[str, str]:
    sent = sum(b["queue_wait"]["counts"]) if "queue_wait" in b else 0
    ratio = f"{100 * b['reused'] / sent:.1f} %" if sent else "-"
    connects = f"{b.get('connects', 0):,} connects, {b.get('connect_failures', 0):,} failed"
    retried = f", {b['retried']:,} requests sent again" if b.get("retried") else ""
    return ratio, connects + retried


def _waits(histogram: Mapping[str, Any]) -> tuple[str, str]:
    counts, bounds = histogram["counts"], histogram["bounds"]
    total = sum(counts)
    if not total:
        return "-", ""
    mean = f"mean {_seconds(histogram['sum'] / total)}"
    return mean, ", ".join(f"p{q} {percentile(bounds, counts, q / 100)}" for q in (50, 90, 99))


def percentile(bounds: Sequence[float], counts: Sequence[int], quantile: float) -> str:
    """The bound that so many observations do not exceed: a bucket says no more than that."""
    wanted, seen = quantile * sum(counts), 0
    for bound, count in zip(bounds, counts, strict=False):
        seen += count
        if seen >= wanted:
            return f"<= {_seconds(bound)}"
    return f"> {_seconds(bounds[-1])}"


def format_age(seconds: float) -> str:
    """The two largest units: `3d 4h`, `5m 12s`, `9s`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "m"), (second, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number}{unit}" for number, unit in parts[first : first + 2])


def _state(state: str) -> Text:
    return Text(state.replace("_", " "), "green" if state in GOOD_STATES else "yellow")


def _seconds(seconds: float) -> str:
    return format_duration(seconds) if seconds < 60 else format_age(seconds)


def _size(size: int) -> str:
    for unit, value in _SCALE:
        if size >= value:
            return f"{size / value:,.1f} {unit}"
    return f"{size} B"


def _grid(columns: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(columns - 1):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table
