"""The lines of a plan: one for each thing that is done, in words that stand in the files."""

from __future__ import annotations

from hypothesis import given

from muxproxy.cli.plan import render
from muxproxy.config.model import Config, Limit
from muxproxy.config.plan import plan, told
from tests.config.models import backend, config, configs


def lines(old: Config, new: Config) -> list[str]:
    return render(told(plan(old, new)))


def test_nothing_to_do_is_said_as_such() -> None:
    assert lines(config(backend()), config(backend())) == ["nothing to do: what runs is what the files say"]


def test_every_thing_that_is_done_is_a_line() -> None:
    old = config(
        backend("api", clients__listen=("127.0.0.1:81", "127.0.0.1:82")),
        backend("cache", "redis", redis__password="hush", upstream__servers=("a:1", "b:1", "c:1")),
        backend("ledger", "tcp", clients__listen=("127.0.0.1:83",)),
        backend("old", clients__listen=("127.0.0.1:84", "127.0.0.1:85")),
    )
    new = config(
        backend("api", clients__listen=("127.0.0.1:81", "127.0.0.1:86"), queue__timeout=0.5),
        backend("cache", "redis", redis__password="hash", upstream__servers=("d:1", "b:1", "c:1")),
        backend("ledger", "http", clients__listen=("127.0.0.1:83",)),
        backend("new", clients__listen=("127.0.0.1:84",)),
        drain_timeout=10.0,
    )
    bounds = "at most 8 upstream connections, 10000 clients, 1000 waiting"
    assert lines(old, new) == [
        f"added: new: 127.0.0.1:84 to 10.0.0.1:80 (http): {bounds}",
        "removed: old: no new clients, and drain_timeout to finish what is owed",
        "replaced: ledger: the old one drains; as a new backend: "
        f"127.0.0.1:83 to 10.0.0.1:80 (http): {bounds}",
        "changed: api: clients.listen = +127.0.0.1:86, -127.0.0.1:82: listeners come and go",
        'changed: api: queue.timeout = "5s" -> "500ms": at once',
        "changed: cache: upstream.servers = +d:1, -a:1: connections close as they come free",
        "changed: cache: redis.password = another ...: connections close as they come free",
        'changed: muxproxy.toml: drain_timeout = "30s" -> "10s": at once',
        "opened: 127.0.0.1:86 of api",
        "closed: 127.0.0.1:82 of api",
        "closed: 127.0.0.1:85 of old",
        "handed over: 127.0.0.1:83 from ledger to ledger, without a break",
        "handed over: 127.0.0.1:84 from old to new, without a break",
    ]


def test_what_is_refused_stands_first_and_that_nothing_is_changed_last() -> None:
    told_lines = lines(config(backend(), user="a", workers=2), config(backend(queue__max_waiting=0)))
    assert told_lines == [
        "refused: muxproxy.toml: workers = 1: a running muxproxy cannot change this, which is 2: "
        "it takes `muxproxy upgrade`",
        "refused: muxproxy.toml: user = not written: a running muxproxy cannot change this, "
        'which is "a": it takes a restart',
        "changed: alpha: queue.max_waiting = 1000 -> 0: at once",
        "refused: nothing is changed",
    ]


def test_shards_join_and_leave() -> None:
    one, two = config(backend()), config(backend(shards=2))
    assert lines(one, two) == ["changed: alpha: shards = 1 -> 2: for clients that connect from now on"]
    assert lines(two, one) == ["changed: alpha: shards = 2 -> 1: workers leave it, and drain"]


def test_lists_are_told_by_what_came_and_went() -> None:
    first, second = Limit("R", 5), Limit("S", 10)
    some = backend("a", "dubbo", dubbo__limits=(first,))
    (line,) = lines(config(some), config(backend("a", "dubbo", dubbo__limits=(first, second))))
    assert line == 'changed: a: dubbo.limits = +service = "S", actives = 10: at once'
    servers = [("a:1", "b:1"), ("b:1", "a:1")]
    old, new = (config(backend(upstream__servers=each)) for each in servers)
    assert lines(old, new) == ["changed: alpha: upstream.servers = in another order, b:1, a:1: at once"]


def test_whoever_answers_no_line_drives_the_terminal() -> None:
    answer = told(plan(config(backend()), config(backend("beta"))))
    answer["added"][0]["what"] = "\x1b[2Jx\n"
    assert render(answer)[0] == "added: beta: ?[2Jx?"


@given(configs(), configs())
def test_every_plan_can_be_told(old: Config, new: Config) -> None:
    shown = lines(old, new)
    assert shown
    assert all(line.isprintable() for line in shown)
