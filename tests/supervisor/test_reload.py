"""A reload: all that can fail fails before anything has changed, and each worker gets its part."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from muxproxy.budget import Order
from muxproxy.config.limits import PINNED, PLACES, numbers
from muxproxy.config.model import Backend, Config
from muxproxy.errors import ConfigError
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.sockets import Listener, ListenError, Listeners, bind
from muxproxy.supervisor.reload import Draft, Place, Reload
from tests.config.models import backend, config

NOFILE = 200_000


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def place() -> str:
    return f"127.0.0.1:{port()}"


class Running:
    """What runs: a configuration, its listeners, the names that each worker has."""

    def __init__(self, now: Config, folder: str) -> None:
        self.config = now
        self.listeners: Listeners = bind(now, f"{folder}/admin.sock")
        self.live = [[each.name for each in now.backends]]
        self._opened: list[Listener] = []

    def reload(self, *wanted: Backend, **node: object) -> Reload:
        reload = Reload(Draft(self.config, config(*wanted, **node), NOFILE, self.live))
        self._opened += [listener for _, listener in reload._opened]
        return reload

    def close(self) -> None:
        for listener in self._opened:
            listener.close()
        self.listeners.close()


@pytest.fixture
def running(tmp_path: os.PathLike[str], place: str) -> Iterator[Running]:
    ran = Running(config(backend("web", clients__listen=(place,))), str(tmp_path))
    yield ran
    ran.close()


def opens(name: str, worker: int) -> tuple[int, dict[str, Order]]:
    return 7, {PLACES: Order(1, 3, 0)}


def is_bound(address: str) -> bool:
    with socket.socket() as sock:
        host, _, number = address.rpartition(":")
        return sock.connect_ex((host, int(number))) == 0


def test_a_backend_that_is_added_has_its_socket_and_its_places(running: Running, place: str) -> None:
    new = f"127.0.0.1:{port()}"
    reload = running.reload(running.config.backends[0], backend("more", clients__listen=(new,)))
    assert is_bound(new)
    (web,) = running.listeners.backends["web"]
    assert reload.relist(running.listeners) == []
    assert running.listeners.backends["web"] == [web]  # the very one: nobody is refused
    change, backends, descriptors = reload.part(5, 0, opens)
    assert (change.serial, [each.name for each in change.added]) == (5, ["more"])
    assert change.holders == {"more": (7, {PLACES: Order(1, 3, 0)})}
    assert change.opened == [Place("more", new)]
    assert descriptors == [running.listeners.backends["more"][0].socket.fileno()]
    assert [each.name for each in backends] == ["more", "web"]
    assert change.removed == change.changed == change.closed == []


def test_an_address_that_cannot_be_had_leaves_all_as_it_was(running: Running) -> None:
    new = f"127.0.0.1:{port()}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        theirs = f"127.0.0.1:{taken.getsockname()[1]}"
        more = backend("more", clients__listen=(new, theirs))
        with pytest.raises(ListenError, match=f"backend more: cannot listen on {theirs}: another process"):
            running.reload(running.config.backends[0], more)
    assert not is_bound(new)
    assert list(running.listeners.backends) == ["web"]


def test_what_a_running_one_cannot_change_changes_nothing(running: Running) -> None:
    new = f"127.0.0.1:{port()}"
    more = backend("more", clients__listen=(new,))
    with pytest.raises(ConfigError, match="admin"):
        running.reload(running.config.backends[0], more, admin="/run/elsewhere.sock")
    assert not is_bound(new)


def test_a_removed_backend_lets_go_of_its_socket_last(running: Running, place: str) -> None:
    other = backend("other", clients__listen=("127.0.0.1:0",))
    reload = running.reload(other)
    (old,) = running.listeners.backends["web"]
    assert reload.relist(running.listeners) == [old]
    assert is_bound(place)  # until the workers have closed theirs
    change = reload.part(1, 0, opens).change
    assert (change.removed, change.closed) == (["web"], [])  # its worker closes all that a removed one has
    old.close()


def test_an_address_that_changes_hands_is_never_closed(running: Running, place: str) -> None:
    reload = running.reload(backend("other", clients__listen=(place,)))
    (old,) = running.listeners.backends["web"]
    assert reload.relist(running.listeners) == []
    assert running.listeners.backends["other"] == [old]
    change, _, descriptors = reload.part(1, 0, opens)
    assert (change.removed, change.opened) == (["web"], [Place("other", place)])
    assert descriptors == [old.socket.fileno()]


def test_an_address_that_is_only_spelled_otherwise_is_the_same(tmp_path: os.PathLike[str]) -> None:
    number = port()
    ran = Running(config(backend("web", clients__listen=(f"[::1]:{number}",))), str(tmp_path))
    with ran.listeners:
        reload = ran.reload(backend("web", clients__listen=(f"[0::1]:{number}",)))
        (old,) = ran.listeners.backends["web"]
        assert reload.relist(ran.listeners) == []
        assert ran.listeners.backends["web"] == [old]


def test_a_larger_backlog_is_the_sockets_at_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(socket.socket, "listen", lambda sock, backlog: told.append(backlog))
    changed = backend("web", clients__listen=running.config.backends[0].clients.listen, clients__backlog=77)
    reload = running.reload(changed)
    reload.relist(running.listeners)
    assert told == [77]
    reload = running.reload(
        backend("web", clients__listen=running.config.backends[0].clients.listen, queue__max_waiting=3)
    )
    reload.relist(running.listeners)
    assert told == [77]  # and of one that did not change nobody is told
    assert [each.name for each in reload.part(1, 0, opens).change.changed] == ["web"]


def test_the_ledger_hears_of_new_bounds_and_of_who_is_gone(running: Running) -> None:
    ledger = Ledger()
    ledger.set_bounds("web", numbers(running.config.backends[0]))
    holder, _ = ledger.open("web", 0)
    listen = running.config.backends[0].clients.listen
    running.reload(backend("web", clients__listen=listen, upstream__max_connections=3)).settle(ledger)
    assert [(news.holder, news.number, news.order.most) for news in ledger.news()] == [
        (holder, PLACES, 3),
        (holder, PINNED, 1),
    ]
    running.reload(backend("other")).settle(ledger)
    assert ledger.open("other", 0)[1][PLACES].most > 0
    ledger.close(holder)
    with pytest.raises(KeyError):
        ledger.open("web", 0)


def test_a_worker_that_has_nothing_to_do_with_it_has_nothing_to_do(running: Running) -> None:
    running.live.append(["side"])
    running.config = config(*running.config.backends, backend("side"))
    reload = running.reload(backend("web", clients__listen=("127.0.0.1:0",)), backend("side"))
    change = reload.part(1, 1, opens).change
    assert change.added == change.removed == change.changed == change.opened == change.closed == []


def test_a_second_shard_comes_to_another_worker_with_all_sockets_of_the_backend(running: Running) -> None:
    listen = running.config.backends[0].clients.listen
    reload = running.reload(backend("web", clients__listen=listen, shards=2, clients__max_connections=101))
    reload.relist(running.listeners)
    (web,) = running.listeners.backends["web"]
    first, second = (reload.part(1, worker, opens) for worker in (0, 1))
    assert [each.name for each in first.change.changed] == ["web"]
    assert first.change.added == first.change.opened == []
    assert [each.name for each in second.change.added] == ["web"]
    assert second.descriptors == [web.socket.fileno()]
    whole = [each.backends[0].clients.max_connections for each in (first, second)]
    assert whole == [101, 101]  # lent to where they come


def test_a_shard_that_is_too_many_leaves_its_worker_and_the_other_stays(running: Running) -> None:
    listen = running.config.backends[0].clients.listen
    running.config = config(backend("web", clients__listen=listen, shards=2))
    running.live = [["web"], ["web"]]
    reload = running.reload(backend("web", clients__listen=listen))
    assert reload.relist(running.listeners) == []
    assert reload.part(1, 0, opens).change.removed == []
    assert reload.part(1, 1, opens).change.removed == ["web"]
