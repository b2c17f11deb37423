"""What operators have changed, over what the files say: no process, no ledger, only what is to run."""

from __future__ import annotations

import pytest

from muxproxy.config import keys
from muxproxy.config.model import Config
from muxproxy.errors import ConfigError, OperatorError
from muxproxy.supervisor.admin.live import SETTABLE, Live, UnknownError
from tests.config.models import backend, config

TWO = ("10.0.0.5:80", "cache.internal:80")
FILES = config(backend("web", upstream__servers=TWO), backend("cache"))


def names(wanted: Config) -> list[str]:
    return [each.name for each in wanted.backends]


def test_untouched_it_is_what_the_files_say() -> None:
    assert Live().over(FILES) == FILES
    assert Live().told(FILES.backends[0]) == {
        "paused": False,
        "drained": False,
        "drained_servers": [],
        "differs": {},
    }


def test_a_pause_changes_nothing_of_the_configuration() -> None:
    live = Live().pause(FILES, "web")
    assert (live.paused, live.over(FILES)) == ({"web"}, FILES)
    assert live.resume(FILES, "web") == Live()


def test_what_is_drained_is_not_there_until_it_is_resumed() -> None:
    live = Live().drain(FILES, "web").pause(FILES, "web")
    assert names(live.over(FILES)) == ["cache"]
    assert live.told(FILES.backends[0])["drained"]
    assert live.resume(FILES, "web").over(FILES) == FILES


@pytest.mark.parametrize("spelling", ["cache.internal:80", "CACHE.internal:80"])
def test_a_drained_server_is_not_among_those_of_its_backend(spelling: str) -> None:
    live = Live().drain(FILES, "web", spelling)
    web = live.over(FILES).backends[0]
    assert web.upstream.servers == ("10.0.0.5:80",)
    assert live.told(web)["drained_servers"] == ["cache.internal:80"]
    assert live.resume(FILES, "web", spelling) == Live()
    assert live.resume(FILES, "web") == Live()


def test_the_last_server_cannot_be_drained() -> None:
    live = Live().drain(FILES, "web", TWO[0])
    with pytest.raises(OperatorError, match="last server of web"):
        live.drain(FILES, "web", TWO[1])


def test_who_is_not_there_cannot_be_changed() -> None:
    for change in (Live().pause, Live().resume, Live().drain):
        with pytest.raises(UnknownError, match="there is no backend 'wep'; there are web, cache"):
            change(FILES, "wep")
    for server in ("10.0.0.6:80", "nonsense", ""):
        with pytest.raises(UnknownError, match=r"web has no server .*; it has 10.0.0.5:80, cache"):
            Live().drain(FILES, "web", server or " ")


def test_numbers_that_are_set_stand_beside_the_files_own() -> None:
    live = Live().set(FILES, "web", {"max_connections": 12}).set(FILES, "web", {"max_waiting": 7})
    web = live.over(FILES).backends[0]
    assert (web.upstream.max_connections, web.queue.max_waiting) == (12, 7)
    written = FILES.backends[0]
    assert live.told(written)["differs"] == {
        "upstream.max_connections": {"file": written.upstream.max_connections, "now": 12},
        "queue.max_waiting": {"file": written.queue.max_waiting, "now": 7},
    }
    same = {"max_connections": written.upstream.max_connections}
    assert "upstream.max_connections" not in live.set(FILES, "web", same).told(written)["differs"]


@pytest.mark.parametrize(
    ("numbers", "rule"),
    [
        ({"max_connections": 0}, "upstream.max_connections = 0: a whole number from 1"),
        ({"max_connections": True}, "upstream.max_connections = True: a whole number"),
        ({"max_waiting": "9" * 999}, f"queue.max_waiting = {'9' * 40}: a whole number"),
        ({"max_waiting": None}, "queue.max_waiting = None: a whole number"),
        ({"timeout": 5}, "timeout: cannot be set live; these can: max_connections, max_waiting"),
        ({"max_connections": 1, "max_waiting": -1}, "queue.max_waiting = -1: a whole number"),
        ({"max_connections": 1}, "upstream.min_connections = 2: at most upstream.max_connections, 1"),
    ],
)
def test_numbers_keep_to_the_rules_of_the_files(numbers: dict[str, object], rule: str) -> None:
    files = config(backend("web", upstream__min_connections=2))
    with pytest.raises(ConfigError) as error:
        Live().set(files, "web", numbers)
    assert rule in str(error.value)


def test_a_reload_ends_numbers_and_keeps_what_is_paused_and_drained() -> None:
    live = Live().pause(FILES, "cache").drain(FILES, "web", TWO[0]).set(FILES, "web", {"max_waiting": 7})
    assert live.reloaded(FILES) == Live().pause(FILES, "cache").drain(FILES, "web", TWO[0])
    live = Live().drain(FILES, "cache")
    assert live.reloaded(FILES) == live


def test_what_the_files_have_no_more_is_forgotten() -> None:
    live = Live().pause(FILES, "cache").drain(FILES, "cache").drain(FILES, "web", TWO[0])
    assert live.reloaded(config(backend("web", upstream__servers=("10.0.0.9:80",)))) == Live()
    assert live.reloaded(config(backend("new"))) == Live()


def test_files_that_leave_only_a_drained_server_want_it() -> None:
    live = Live().drain(FILES, "web", TWO[0])
    assert live.reloaded(config(backend("web", upstream__servers=TWO[:1]))) == Live()


def test_what_can_be_set_are_keys_of_the_files() -> None:
    assert all(key in keys.TABLES[table] for table, key in SETTABLE.values())
