"""What the store is given, and what is taken out of it."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

import pytest

from muxproxy.supervisor.listening.sockets import listen
from muxproxy.supervisor.systemd.handed import KEPT, Descriptor
from muxproxy.supervisor.systemd.store import Store, is_to_be_kept, name_of


@pytest.fixture
def said(tmp_path, monkeypatch):
    """A function: what has been said since, each with the inodes of its sockets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/notify")
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")

        def since() -> list[tuple[str, list[int]]]:
            found = []
            while True:
                try:
                    words, descriptors, _, _ = socket.recv_fds(manager, 4096, 8)
                except BlockingIOError:
                    return found
                found.append((words.decode(), [os.fstat(each).st_ino for each in descriptors]))
                for each in descriptors:
                    os.close(each)

        yield since


@pytest.fixture
def three(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mine = [listen(f"127.0.0.1:{port}", 1), listen(f"unix:{tmp_path}/web.sock", 1), listen("127.0.0.1:0", 1)]
    yield mine
    for each in mine:
        each.close()


def put(listener) -> tuple[str, list[int]]:
    return f"FDSTORE=1\nFDNAME={name_of(listener)}", [os.fstat(listener.socket.fileno()).st_ino]


def test_each_goes_in_once_and_comes_out_when_it_is_no_longer_wanted(said, three):
    tcp, local, _ = three
    store = Store()
    store.keep(three)  # a port that the kernel chose is another one next time
    assert said() == [put(tcp), put(local)]
    store.keep([tcp, local])
    assert said() == []
    store.keep([local])
    assert said() == [(f"FDSTOREREMOVE=1\nFDNAME={name_of(tcp)}", [])]
    store.keep([])
    assert said() == [(f"FDSTOREREMOVE=1\nFDNAME={name_of(local)}", [])]


def test_what_came_out_of_it_is_still_in_there(said, three):
    tcp, local, _ = three
    gone = "kept/1"
    store = Store([Descriptor(3, name_of(tcp)), Descriptor(4, gone), Descriptor(5, "web")])
    store.keep([tcp, local])
    assert said() == [(f"FDSTOREREMOVE=1\nFDNAME={gone}", []), put(local)]


def test_those_of_a_unit_are_not_kept_twice(three):
    assert [is_to_be_kept(each) for each in three] == [True, True, False]
    assert not is_to_be_kept(replace(three[0], unit="muxproxy.socket"))


def test_names_are_such_as_systemd_takes_and_no_backends(three):
    for each in three:
        assert KEPT.fullmatch(name_of(each))  # printable, no colon, at most 255 characters: fdname_is_valid()
