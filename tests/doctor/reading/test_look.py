"""Two looks and glances, with a kernel that is made up: what counts as outgoing, opened, taken, whose."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

import pytest

from muxproxy.doctor.facts import Facts, Flow
from muxproxy.doctor.reading import look, proc
from muxproxy.doctor.reading.proc import Held
from muxproxy.doctor.reading.sockets import Lister, Socket, TimeWait

APP, SERVER = 100, 200


def key(host: str = "10.0.0.5", port: int = 6379) -> bytes:
    ends = (socket.inet_aton(each).ljust(16, b"\0") for each in ("10.0.0.1", host))
    return port.to_bytes(2, "big") + b"".join(ends)


def live(
    cookie: int, state: str = "ESTABLISHED", *, port: int = 20001, inode: int = 0, **more: object
) -> Socket:
    fields: dict[str, object] = {
        "key": key(),
        "queue": 0,
        "backlog": 0,
        "uid": 0,
        "is_unanswered": False,
        **more,
    }
    return Socket(state=state, family=socket.AF_INET, local_port=port, cookie=cookie, inode=inode, **fields)


def wait(cookie: int, *, port: int = 20001, expires: int = 30_000, to: bytes = key()) -> TimeWait:
    return 96, port.to_bytes(2, "big"), to, cookie, expires


class Kernel(Lister):
    """Says at each look what a test has for it; the last of it from then on."""

    def __init__(self, lives: list[list[Socket]], waits: list[list[TimeWait]]) -> None:
        self.lives, self.waits = lives, waits

    def live(self) -> list[Socket]:
        return self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]

    def time_waits(self) -> Iterator[tuple[int, list[TimeWait]]]:
        yield socket.AF_INET, self.waits.pop(0) if len(self.waits) > 1 else self.waits[0]

    def listening(self) -> list[Socket]:
        return [live(1, "LISTEN", port=20500, inode=9, key=key("0.0.0.0", 0), backlog=128)]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[int, Held]:
    """The processes; a test adds to them."""
    hands = {SERVER: Held(5, frozenset({9}))}
    settings = {"ip_local_port_range": "20000 21999"}
    monkeypatch.setattr(proc, "held", lambda mine: (dict(hands), 3))
    monkeypatch.setattr(proc, "settings", lambda: settings)
    monkeypatch.setattr(proc, "name_of", lambda pid: f"program-{pid}")
    monkeypatch.setattr(proc, "owner_of", lambda pid: "app")
    monkeypatch.setattr(proc, "is_told_of", lambda pid, host: False)
    monkeypatch.setattr(proc, "other_namespaces", lambda found: {})
    monkeypatch.setattr(proc, "is_elsewhere", lambda pid: False)
    return hands


def seen(lives: list[list[Socket]], waits: Iterable[list[TimeWait]] = ([],)) -> Facts:
    """Of two looks, and no glance between them."""
    return look.Watch(Kernel(lives, list(waits)), lambda seconds: None).facts(0.0)


def only(facts: Facts) -> Flow:
    (flow,) = facts.flows
    return flow


def test_connections_are_counted_by_remote_and_state_with_who_holds_them(machine: dict[int, Held]) -> None:
    machine[APP] = Held(20, frozenset({51, 52}))
    found = only(
        seen(
            [[live(1, inode=51), live(2, "SYN_SENT", port=20002, inode=52, is_unanswered=True)]], [[wait(3)]]
        )
    )
    assert (found.source, found.remote) == ("10.0.0.1", "10.0.0.5:6379")
    assert found.states == {"ESTABLISHED": 1, "SYN_SENT": 1, "TIME_WAIT": 1}
    assert (found.ports, found.unanswered, found.opened, found.open_most) == (3, 1, 0.0, 1)
    assert [(each.pid, each.name, each.sockets) for each in found.holders] == [(APP, "program-100", 2)]


def test_what_others_have_opened_to_a_listener_here_is_incoming() -> None:
    client = key("10.0.0.9", 33000)
    facts = seen([[live(1, port=20500, key=client)]], [[wait(2, port=20500, to=client)]])
    assert (facts.flows, facts.incoming, facts.time_waits) == ((), 2, 1)


def test_of_a_listener_that_has_gone_the_port_tells() -> None:
    """It is none that connect() takes, and theirs is."""
    client = key("10.0.0.9", 20100)
    facts = seen([[live(1, port=80, key=client)]], [[wait(2, port=80, to=client)]])
    assert (facts.flows, facts.incoming) == ((), 2)
    bound = seen([[live(1, port=80)]], [[wait(2, port=81)]])  # a client that has bound its port itself
    assert (only(bound).states, only(bound).ports) == ({"ESTABLISHED": 1, "TIME_WAIT": 1}, 0)


def test_opened_is_what_was_not_there_before_whatever_has_become_of_it() -> None:
    first = [live(1), live(2, port=20002)]
    second = [live(1), live(3, port=20003)]
    waits = [[wait(9)], [wait(9), wait(2), wait(4, expires=59_500)]]
    # Lists: the first look's two, then the second look's two.
    watch = look.Watch(Kernel([first, first, second, second], waits), lambda seconds: None)
    found = only(watch.facts(0.0))
    elapsed = watch.elapsed
    assert found.opened * elapsed == pytest.approx(2)  # 3, and 4 that has been closed again
    assert found.timed * elapsed == pytest.approx(2)  # 2 and 4
    assert found.growth * elapsed == pytest.approx(2)  # from 3 ports to 5
    assert (found.ports, found.young) == (5, 1)


def test_what_has_closed_between_the_list_and_the_time_waits_counts_once() -> None:
    both = [live(1), live(2, port=20002)]
    found = only(seen([both], [[], [wait(2)]]))
    assert (found.states, found.ports) == ({"ESTABLISHED": 1, "TIME_WAIT": 1}, 2)
    assert found.growth == 0
    found = only(seen([both], [[wait(2)]]))  # at the first look
    assert (found.ports, found.growth, found.timed, found.opened) == (2, 0, 0, 0)


def test_who_ends_meanwhile_has_a_name(machine: dict[int, Held], monkeypatch: pytest.MonkeyPatch) -> None:
    machine[APP] = Held(20, frozenset({51}))
    names = {APP: "curl"}
    monkeypatch.setattr(proc, "name_of", lambda pid: names.get(pid, ""))
    kernel = Kernel([[live(1, inode=51)]], [[]])

    def pause(seconds: float) -> None:
        names.clear()
        machine.pop(APP, None)

    (flow,) = look.Watch(kernel, pause).facts(0.001).flows
    assert [(each.pid, each.name) for each in flow.holders] == [(APP, "curl")]


def test_of_a_connection_that_lived_through_it_what_it_said_and_lost_meanwhile_counts() -> None:
    first, second = (
        [live(1, sent=10, retransmitted=1)],
        [live(1, sent=30, retransmitted=4, rtt=250, is_busy=True)],
    )
    watch = look.Watch(Kernel([first, first, second, second], [[]]), lambda seconds: None)
    found = only(watch.facts(0.0))
    assert found.sent * watch.elapsed == pytest.approx(20)
    assert (found.retransmitted, found.rtt, found.busy_most, found.busy_mean) == (3, 250e-6, 1, 0.5)


def test_where_nobody_was_seen_with_it_who_opens_sockets_or_was_told_of_it_is_guessed(
    machine: dict[int, Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = iter([frozenset({60}), frozenset({61, 9}), frozenset({62})])
    last = Held(9, frozenset({63}))

    def held(mine: int) -> tuple[dict[int, Held], int]:
        return {**machine, APP: Held(9, next(hands, last.sockets)), 300: Held(4, frozenset({70}))}, 0

    monkeypatch.setattr(proc, "held", held)
    many = [[], [wait(number) for number in range(100)]]
    found = only(seen([[]], list(many)))
    assert [(each.pid, each.guess[:40]) for each in found.holders] == [
        (APP, "sockets came and went in its hands (2 se")
    ]
    monkeypatch.setattr(proc, "is_told_of", lambda pid, host: pid in (300, SERVER))
    told = only(seen([[]], list(many)))
    assert [each.pid for each in told.holders] == [SERVER, 300, APP]
    assert only(seen([[]], [[], many[1][1:]])).holders == ()  # too few to be worth it
    assert only(seen([[]], [many[1]])).holders == ()  # it has ended
    full = [wait(number) for number in range(1800)]
    assert [each.pid for each in only(seen([[]], [full])).holders] == [SERVER, 300]  # it has no room
    monkeypatch.setattr(
        proc, "is_elsewhere", lambda pid: pid == SERVER
    )  # a container's: it has none of these
    assert [each.pid for each in only(seen([[]], [full])).holders] == [300]


def test_who_serves_the_remote_is_not_guessed_to_be_its_client(
    machine: dict[int, Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "is_told_of", lambda pid, host: True)
    machine[APP] = Held(3, frozenset())
    found = only(seen([[]], [[], [wait(number, to=key("10.0.0.1", 20500)) for number in range(100)]]))
    assert [each.pid for each in found.holders] == [APP]


def test_listeners_and_processes_are_told_with_their_holders(machine: dict[int, Held]) -> None:
    facts = seen([[]])
    (listener,) = facts.listeners
    assert (listener.address, listener.backlog, [each.pid for each in listener.holders]) == (
        "10.0.0.1:20500",
        128,
        [SERVER],
    )
    assert [(each.pid, each.descriptors) for each in facts.processes] == [(SERVER, 5)]
    assert (facts.sight.hidden, facts.sight.unowned) == (3, 0)


def test_a_socket_that_stays_and_is_nobodys_who_may_be_looked_into_is_told() -> None:
    assert seen([[live(1, inode=77)]]).sight.unowned == 1


@pytest.mark.parametrize(
    ("cost", "lists", "rests"), [(0.03, 8, [0.54, 0.34]), (0.11, 3, [0.89]), (2.0, 3, [0.0])]
)
def test_glances_take_no_more_than_a_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch, cost: float, lists: int, rests: list[float]
) -> None:
    """A clock on which lists cost something. Each glance makes two, unless they are dear, and then a
    pause."""
    now = [0.0]
    kernel = Kernel([[]], [[]])
    listed = kernel.live

    def slow() -> list[Socket]:
        now[0] += cost
        return listed()

    monkeypatch.setattr(kernel, "live", slow)
    monkeypatch.setattr(look.time, "monotonic", lambda: now[0])
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    assert look.Watch(kernel, pause).facts(1.0).sight.lists == lists
    assert pauses == pytest.approx(rests)


@pytest.mark.parametrize("where", ["__init__", "listening"])  # seccomp, and a kernel without tcp_diag
def test_where_sock_diag_is_refused_proc_is_read_and_it_says_so(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(look.Diag, where, refuse)
    lister = look.chosen()
    sight = look.Watch(lister, lambda seconds: None).facts(0.0).sight if where == "listening" else lister
    assert (sight.by, sight.refused) == ("/proc/net/tcp", "Operation not permitted")


def test_this_machine_can_be_looked_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        remote = f"127.0.0.1:{server.getsockname()[1]}"
        facts = look.look(0.0)
    assert remote in {flow.remote for flow in facts.flows}
