"""What `muxproxy doctor` shows to somebody in trouble at three in the morning: the worst first, one line
what is wrong, one line what to type, the evidence beneath. Then what there is, in short, and what was not
seen.

Plain lines, coloured where click finds a terminal. Names of programs are other people's words: plain.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from muxproxy.cli.plain import plain
from muxproxy.doctor.facts import Flow
from muxproxy.doctor.judging.words import states, who
from muxproxy.doctor.report import Evidence, Finding, Level, PortUse, Report, count, percent, span, times

MOST_FLOWS = 8
_COLOURS = {Level.WRONG: "red", Level.WARNING: "yellow", Level.FINE: "green"}


def render(report: Report) -> list[str]:
    return [
        *_head(report),
        *_findings(report),
        *_flows(report),
        *_rest(report),
        *_settings(report),
        *_fleet(report),
        *_unseen(report),
    ]


def _head(report: Report) -> Iterator[str]:
    wrong = sum(finding.level == Level.WRONG for finding in report.findings)
    warnings = len(report.findings) - wrong
    if wrong:
        text = f"{count(wrong, 'thing')} wrong"
        yield click.style(text + (f", {count(warnings, 'warning')}" if warnings else ""), fg="red", bold=True)
    elif warnings:
        yield click.style(f"Nothing is wrong; {count(warnings, 'warning')}", fg="yellow", bold=True)
    else:
        yield click.style("Nothing is wrong.", fg="green", bold=True)


def _findings(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield ""
        yield _title(finding)
        if finding.type:
            yield click.style("  type  ", bold=True) + plain(finding.type)
        yield from (_evidence(each) for each in finding.evidence)


def _title(finding: Finding) -> str:
    level = click.style(finding.level.upper(), fg=_COLOURS[finding.level], bold=True)
    return f"{level}  {click.style(plain(finding.title), bold=True)}"


def _evidence(each: Evidence) -> str:
    return f"        {plain(each.text)}  " + click.style(f"[{plain(each.source)}]", dim=True)


def _flows(report: Report) -> Iterator[str]:
    yield ""
    outgoing = sum(sum(flow.states.values()) for flow in report.flows)
    remotes = len({flow.remote for flow in report.flows})
    yield _section(
        f"Outgoing: {count(outgoing, 'socket')} to {count(remotes, 'remote')}", f"{report.sight.by}: ss -tan"
    )
    for flow, use in list(zip(report.flows, report.port_use, strict=True))[:MOST_FLOWS]:
        yield f"  {flow.remote}  {_use(use)}  {plain(_flow(flow))}"
    if len(report.flows) > MOST_FLOWS:
        yield f"  and {len(report.flows) - MOST_FLOWS:,} more, all with fewer (--json has them)"


def _use(use: PortUse) -> str:
    text = f"{percent(use.taken, use.size)} of ports"
    return text if use.seconds_left is None else f"{text}, none left in {span(use.seconds_left)}"


def _flow(flow: Flow) -> str:
    rate = f"  {times(flow.opened)} connects/s" if flow.opened else ""
    return (
        f"{states(flow.states)}{rate}  by {who(flow)}"
        if flow.holders or flow.users
        else f"{states(flow.states)}{rate}"
    )


def _rest(report: Report) -> Iterator[str]:
    grown, queued = report.growth, [each for each in report.listeners if each.queue]
    fullest = max(queued, key=lambda each: each.queue / max(1, each.backlog), default=None)
    text = f"Incoming: {count(report.incoming, 'socket')}, {count(len(report.listeners), 'listener')}, "
    if fullest is None:
        text += "no queue"
    else:
        room = f" of {fullest.backlog:,}" if fullest.backlog else ""  # /proc/net/tcp does not tell it
        text += f"fullest queue {fullest.queue:,}{room} at {fullest.address}"
    yield _section(text, f"{report.sight.by}: ss -ltn")
    again, out = grown.get("Tcp.RetransSegs", 0), grown.get("Tcp.OutSegs", 0)
    text = (
        f"In {report.sight.seconds:.1f} s: {grown.get('Tcp.ActiveOpens', 0):,} connects out, "
        f"{grown.get('Tcp.PassiveOpens', 0):,} in, {grown.get('TcpExt.ListenOverflows', 0):,} overflows, "
        f"{again:,} of {out:,} segments sent again"
    )
    yield _section(text, "/proc/net/snmp, /proc/net/netstat: nstat")


def _settings(report: Report) -> Iterator[str]:
    yield _section(
        "Kernel settings", "/proc/sys; `sysctl -w` lasts until the next boot: then /etc/sysctl.d/*.conf"
    )
    for each in report.settings:
        name = click.style(each.name, fg=None if each.level == Level.FINE else _COLOURS[each.level])
        reason = click.style(plain(each.reason), dim=True) if each.level == Level.FINE else "see above"
        where = "" if each.source.startswith("/proc/sys/") else click.style(f"  [{each.source}]", dim=True)
        yield f"  {name} = {each.value or '-'}  {reason}{where}"


def _fleet(report: Report) -> Iterator[str]:
    if report.fleet:
        yield _section("Fleet", "every node may open its whole bound, to one of several servers")
        for line in report.fleet:
            yield "  " + _section(plain(f"{line.name}: {line.text}"), plain(line.source))


def _unseen(report: Report) -> Iterator[str]:
    if report.unseen:
        yield _section("Not seen", "what is missing above, and what would show it")
        yield from (f"  {plain(line)}" for line in report.unseen)


def _section(text: str, source: str) -> str:
    return f"{text}  " + click.style(f"[{source}]", dim=True)
