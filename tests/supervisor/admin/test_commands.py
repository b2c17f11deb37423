"""Commands, carried out by one who only remembers: what is asked of the supervisor, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from muxproxy.config.model import Config
from muxproxy.errors import ConfigError, OperatorError, Problem
from muxproxy.supervisor.admin.commands import Commands
from muxproxy.supervisor.admin.live import Live, UnknownError
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.reload import Draft
from tests.config.models import backend, config

TWO = ("10.0.0.5:80", "10.0.0.6:80")
NOFILE = 200_000
FILES = config(backend("web", upstream__servers=TWO), backend("cache"))


class FakeRunning:
    def __init__(self) -> None:
        self.changing = trio.Lock()
        self.state = "serving"
        self.trouble_now = ""
        self.config = FILES
        self.became: list[Config] = []
        self.drafts = 0
        self.paused: frozenset[str] = frozenset()
        self.reconnected: list[tuple[str, str]] = []
        self.listens = True
        self.trouble: OperatorError | None = None
        self.busy = 0

    def why_not(self) -> str:
        return self.trouble_now

    def draft(self, wanted: Config) -> Draft:
        self.drafts += 1
        return Draft(self.config, wanted, NOFILE, [[each.name for each in self.config.backends]])

    async def become(self, draft: Draft) -> None:
        self.busy += 1
        assert self.busy == 1, "one at a time"
        await trio.sleep(1)
        self.busy -= 1
        if self.trouble is not None:
            raise self.trouble
        if draft.plan.refused:
            raise ConfigError(list(draft.plan.refused))
        self.config = draft.config
        self.became.append(draft.config)

    def pause(self, backends: frozenset[str]) -> None:
        self.paused = backends

    def tell_to_reconnect(self, backend: str, server: str) -> bool:
        self.reconnected.append((backend, server))
        return self.listens

    async def report(self) -> dict[str, Any]:
        return {"backends": {"web": {"servers": [{"address": "10.0.0.5:80"}]}, "cache": {}}}


class Case:
    def __init__(self) -> None:
        self.running = FakeRunning()
        self.files = FILES
        self.lines: list[str] = []
        log = Log(lambda level, line: self.lines.append(line))
        self.commands = Commands(self.running, FILES, self.read, log, Live())

    def read(self) -> Config:
        return self.files


@pytest.fixture
def case(autojump_clock):
    return Case()


async def test_a_pause_and_its_end_are_the_ledgers_alone(case):
    await case.commands.pause("web")
    await case.commands.pause("web")
    assert case.running.paused == {"web"}
    await case.commands.resume("web")
    assert (case.running.paused, case.running.became) == (frozenset(), [])


async def test_a_drain_is_a_reload_that_takes_it_away_and_its_end_brings_it_back(case):
    await case.commands.drain("web")
    assert [each.name for each in case.running.config.backends] == ["cache"]
    assert [each.name for each in case.commands.gone()] == ["web"]
    await case.commands.resume("web")
    assert (case.running.config, list(case.commands.gone())) == (FILES, [])


async def test_a_server_that_is_drained_is_taken_away(case):
    await case.commands.drain("web", TWO[0])
    assert case.running.config.backends[0].upstream.servers == TWO[1:]
    assert case.commands.changed()["web"]["drained_servers"] == [TWO[0]]
    await case.commands.resume("web", TWO[0])
    assert case.running.config == FILES


async def test_numbers_last_until_the_next_reload_and_drains_and_pauses_do_not_end_with_it(case):
    await case.commands.set("web", {"max_connections": 12})
    await case.commands.drain("cache")
    await case.commands.pause("web")
    assert case.running.config.backends[0].upstream.max_connections == 12
    told = await case.commands.reload(dry_run=True)
    assert [each["key"] for each in told["changed"]] == ["upstream.max_connections"]
    assert case.commands.changed()["web"]["differs"]
    assert await case.commands.reload() == told
    assert case.running.config == config(FILES.backends[0])
    assert case.running.paused == {"web"}
    assert case.commands.changed()["web"]["differs"] == {}


async def test_what_is_planned_is_what_is_carried_out_and_it_is_planned_once(case):
    case.files = config(FILES.backends[0])
    told = await case.commands.reload()
    removed = [each["backend"] for each in told["removed"]]
    assert (removed, case.running.drafts) == (["cache"], 1)
    assert case.running.config == case.files


async def test_what_fails_has_changed_nothing(case):
    case.running.trouble = OperatorError("cannot listen")
    before = case.commands.live
    for doing in (case.commands.drain("web"), case.commands.set("web", {"max_waiting": 3})):
        with pytest.raises(OperatorError, match="cannot listen"):
            await doing
    assert (case.commands.live, case.running.config) == (before, FILES)


async def test_a_reload_that_fails_is_told_in_the_log_and_the_old_files_count(case):
    case.running.trouble = ConfigError([Problem("a.toml", "x", "1", "no"), Problem("b.toml", "y", "2", "no")])
    with pytest.raises(ConfigError):
        await case.commands.reload()
    assert case.lines == [
        'not reloaded problem="a.toml: x = 1: no"',
        'not reloaded problem="b.toml: y = 2: no"',
    ]
    assert case.commands.files is FILES
    assert case.commands.is_refused  # until one is carried out
    case.running.trouble = None
    await case.commands.reload()
    assert not case.commands.is_refused


async def test_what_a_running_one_cannot_change_is_refused_and_told_once(case):
    case.files = config(*FILES.backends, user="nobody")
    told = await case.commands.reload(dry_run=True)
    assert [each["key"] for each in told["refused"]] == ["user"]
    assert case.lines == []
    assert (await case.commands.reload())["refused"] == told["refused"]
    assert (len(case.lines), case.running.became, case.commands.files) == (1, [], FILES)


async def test_one_after_the_other(case):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.commands.drain, "web")
        nursery.start_soon(case.commands.set, "cache", {"max_waiting": 3})
        nursery.start_soon(case.commands.reload)
    assert len(case.running.became) == 3


async def test_at_the_end_nothing_is_changed_any_more(case):
    case.running.trouble_now = "muxproxy is draining"
    for doing in (
        case.commands.reload,
        *(lambda: case.commands.pause("web"), lambda: case.commands.reconnect("web")),
    ):
        with pytest.raises(OperatorError, match="muxproxy is draining"):
            await doing()
    assert (case.running.paused, case.running.reconnected) == (frozenset(), [])


async def test_workers_are_told_to_reconnect(case):
    out = backend("out", upstream__to="host", upstream__servers=())
    case.commands.files = config(*FILES.backends, out)
    await case.commands.reconnect("cache")
    await case.commands.reconnect("web", "10.0.0.5:80")
    assert case.running.reconnected == [("cache", ""), ("web", "10.0.0.5:80")]
    with pytest.raises(UnknownError, match=r"web has no server at .10\.0\.0\.7:80.; it has 10\.0\.0\.5:80"):
        await case.commands.reconnect("web", "10.0.0.7:80")
    await case.commands.reconnect("out", "api.internal:80")
    assert case.running.reconnected[-1] == ("out", "api.internal:80")
    with pytest.raises(UnknownError, match="a host and a port, such as"):
        await case.commands.reconnect("out", "api.internal")
    with pytest.raises(UnknownError, match="it has none"):
        await case.commands.reconnect("cache", "10.0.0.7:80")
    with pytest.raises(UnknownError):
        await case.commands.reconnect("nobody")
    await case.commands.drain("web")
    with pytest.raises(OperatorError, match="web is drained"):
        await case.commands.reconnect("web")
    case.running.listens = False
    with pytest.raises(OperatorError, match="does not listen"):
        await case.commands.reconnect("cache")
