"""What can be listened on, what cannot and why, and whose file a unix socket is."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat

import pytest

from muxproxy.config.model import Backend, Clients, Config, Node, Upstream
from muxproxy.supervisor.listening.sockets import ListenError, bind, listen


def config(**listen: tuple[str, ...]) -> Config:
    backends = [
        Backend(
            name=name,
            protocol="http",
            clients=Clients(listen=addresses),
            upstream=Upstream(servers=("10.0.0.5:80",)),
        )
        for name, addresses in listen.items()
    ]
    return Config(node=Node(), backends=tuple(backends))


@pytest.fixture
def admin(tmp_path):
    return str(tmp_path / "run" / "admin.sock")


def connect(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def test_all_kinds_of_address_are_bound_and_their_real_ports_told(tmp_path, admin):
    unix = f"unix:{tmp_path}/web.sock"
    with bind(config(web=("127.0.0.1:0", "[::1]:0", unix)), admin) as listeners:
        v4, v6, local = listeners.backends["web"]
        assert (v4.address, v6.address, local.address) == ("127.0.0.1:0", "[::1]:0", unix)
        assert v4.bound == f"127.0.0.1:{v4.socket.getsockname()[1]}"
        assert v6.bound == f"[::1]:{v6.socket.getsockname()[1]}"
        assert v6.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        for listener in (v4, v6, local):
            assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            with socket.socket(listener.socket.family) as client:
                client.connect(listener.socket.getsockname())  # waits in the backlog: nobody accepts yet


def test_files_of_unix_sockets_have_their_modes_and_go_with_them(tmp_path, admin):
    path = f"{tmp_path}/web.sock"
    with bind(config(web=(f"unix:{path}",)), admin):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
        assert stat.S_IMODE(os.stat(admin).st_mode) == 0o660
        assert stat.S_IMODE(os.stat(os.path.dirname(admin)).st_mode) & 0o022 == 0
    assert not os.path.exists(path)
    assert not os.path.exists(admin)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_admin_sockets_mode_owner_and_group_are_as_configured(admin):
    wanted = config(web=("127.0.0.1:0",))
    node = Node(admin_mode=0o600, admin_owner="nobody", admin_group="daemon")
    wanted = Config(node=node, backends=wanted.backends)
    for _ in range(2):
        listeners = bind(wanted, admin)
        status = os.stat(admin)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_uid == pwd.getpwnam("nobody").pw_uid
        assert status.st_gid == grp.getgrnam("daemon").gr_gid
        listeners.close_backends()
        listeners.admin.socket.close()  # as if killed: the next one takes it over though it is another's
    with bind(wanted, admin):
        pass
    assert not os.path.exists(admin)


def test_who_cannot_give_the_admin_socket_away_is_told(admin, monkeypatch):
    def chown(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    wanted = Config(node=Node(admin_owner="nobody"), backends=())
    with pytest.raises(ListenError, match=r"admin socket: .* only root may give it"):
        bind(wanted, admin)
    assert not os.path.exists(admin)


def test_the_address_for_readers_is_bound_and_its_trouble_told_with_all_others(admin):
    with bind(Config(node=Node(admin_tcp="127.0.0.1:0"), backends=()), admin) as listeners:
        taken = listeners.admin_tcp.bound
        with pytest.raises(ListenError, match=f"admin_tcp: cannot listen on {taken}: another process"):
            bind(Config(node=Node(admin_tcp=taken), backends=()), f"{admin}2")
    host, _, port = taken.rpartition(":")
    with socket.socket() as client:
        assert client.connect_ex((host, int(port))) == errno.ECONNREFUSED


def test_every_address_that_cannot_be_had_is_told_at_once_and_nothing_stays_open(tmp_path, admin):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        good = tmp_path / "good.sock"
        wanted = config(
            one=(taken, "192.0.2.1:80"),
            two=(f"unix:{good}", f"unix:{tmp_path}/missing/web.sock"),
        )
        with pytest.raises(ListenError) as caught:
            bind(wanted, admin)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["backend one", "backend one", "backend two"]
    assert taken in lines[0]
    assert "another process listens there" in lines[0]
    assert "no such address" in lines[1]
    assert "directory does not exist" in lines[2]
    assert not good.exists()
    assert not os.path.exists(admin)


def test_a_stale_unix_socket_is_taken_over(tmp_path):
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
        killed.listen()
    listener = listen(f"unix:{path}", 16)
    connect(path).close()
    listener.close()


@pytest.mark.parametrize("is_full", [False, True])
def test_a_unix_socket_that_somebody_has_open_is_left_alone(tmp_path, is_full):
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(path)
        alive.listen(0)
        waiting = [connect(path)] if is_full else []
        with pytest.raises(OSError, match="Address already in use"):
            listen(f"unix:{path}", 16)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        for client in waiting:
            client.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "web.sock"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="no socket stands there"):
        listen(f"unix:{path}", 16)
    assert path.read_text() == "precious"


def test_a_file_that_somebody_else_has_put_in_our_place_is_not_removed(tmp_path):
    path = str(tmp_path / "web.sock")
    ours = listen(f"unix:{path}", 16)
    os.unlink(path)
    theirs = listen(f"unix:{path}", 16)
    ours.close()
    connect(path).close()
    theirs.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_the_admin_socket_is_not_put_into_a_directory_of_somebody_else(tmp_path):
    directory = tmp_path / "muxproxy-0"
    directory.mkdir()
    os.chown(directory, 12345, 12345)
    with pytest.raises(ListenError, match=r"belongs to another user \(uid 12345\)"):
        bind(config(), str(directory / "admin.sock"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_the_admin_socket_does_not_follow_somebody_elses_link_to_its_directory(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "muxproxy-0").symlink_to("etc")
    os.lchown(tmp_path / "muxproxy-0", 12345, 12345)
    with pytest.raises(ListenError, match=r"belongs to another user \(uid 12345\)"):
        bind(config(), str(tmp_path / "muxproxy-0" / "admin.sock"))
    assert os.listdir(tmp_path / "etc") == []


def test_the_admin_socket_is_not_put_where_everybody_may_exchange_it(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(ListenError, match="everybody may write in its directory"):
        bind(config(), str(directory / "admin.sock"))
    directory.chmod(0o1777)  # as /tmp: nobody else may rename what is ours
    bind(config(), str(directory / "admin.sock")).close()


def test_the_port_of_a_last_run_can_be_had_again_at_once(admin):
    with bind(config(web=("127.0.0.1:0",)), admin) as listeners:
        listener = listeners.backends["web"][0]
        with socket.create_connection(listener.socket.getsockname()):
            listener.socket.setblocking(True)
            accepted, _ = listener.socket.accept()
            accepted.close()  # the first to close: TIME_WAIT is on our side
        bound = listener.bound
    with bind(config(web=(bound,)), admin) as listeners:
        assert listeners.backends["web"][0].bound == bound


def test_an_admin_directory_that_is_a_file_is_told_as_such(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ListenError, match=r"admin socket: .* its directory is not a directory"):
        bind(config(), f"{tmp_path}/run/admin.sock")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_a_listener_takes_connections_to_any_address_where_that_is_permitted(
    address: str,
) -> None:
    if os.geteuid() != 0:
        with pytest.raises(OSError, match="transparent = true takes CAP_NET_ADMIN"):
            listen(address, 1, transparent=True)
        return
    listener = listen(address, 1, transparent=True)
    level, option = (socket.SOL_IP, 19) if address[0] != "[" else (socket.IPPROTO_IPV6, 75)
    assert listener.socket.getsockopt(level, option) == 1
    listener.close()
