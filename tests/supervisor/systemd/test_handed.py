"""What systemd hands over is taken by its address; what is not wanted, or not usable, is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from muxproxy.supervisor.listening.sockets import listen
from muxproxy.supervisor.systemd.handed import FIRST, Descriptor, Handed, adopt, descriptors
from muxproxy.supervisor.systemd.store import name_of


def handed(sock: socket.socket, name: str = "web") -> Descriptor:
    """Its own descriptor, as after exec."""
    return Descriptor(sock.detach(), name)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.fixture
def tcp():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def address_of(sock: socket.socket) -> str:
    return "{}:{}".format(*sock.getsockname())


ASK = """
import os
from muxproxy.supervisor.systemd.handed import descriptors
os.environ["LISTEN_PID"] = str(os.getpid())
print(*descriptors(os.environ, os.getpid()), [os.get_inheritable(n) for n in (3, 4)], *sorted(os.environ))
"""


@pytest.mark.parametrize(
    ("names", "expected"),
    [("web:kept/1/2/3", ["web", "kept/1/2/3"]), ("web", ["unknown"] * 2), ("", ["unknown"] * 2)],
)
def test_descriptors_are_found_by_number_and_name_and_go_to_no_child(names, expected):
    script = f"exec 3</dev/null 4</dev/null; exec {sys.executable} -c '{ASK}'"
    done = subprocess.run(
        ["bash", "-c", script],
        env={"LISTEN_FDS": "2", "LISTEN_FDNAMES": names, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [Descriptor(FIRST + index, name) for index, name in enumerate(expected)]
    assert done.stdout.startswith(f"{found[0]} {found[1]} [False, False] ")
    assert "LISTEN" not in done.stdout


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},  # for our parent, who has not cleared it
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "-1"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "x", "LISTEN_FDNAMES": "web"},
    ],
)
def test_what_is_not_for_us_is_left_alone_and_not_passed_on(environ):
    assert descriptors(environ, 7) == []
    assert environ == {}


def test_a_socket_is_taken_by_its_address_once(tcp):
    address = address_of(tcp)
    it = Handed([handed(tcp, "any.socket")])
    assert it.take("web", "127.0.0.1:1") is None
    listener = it.take("web", address)
    assert listener is not None
    assert (listener.address, listener.bound, listener.unit) == (address, address, "any.socket")
    assert not listener.socket.getblocking()
    assert it.take("web", address) is None
    assert (it.problems, it.idle()) == ([], [])
    listener.close()


def test_any_spelling_of_an_address_will_do():
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        listener = Handed([handed(sock)]).take("web", f"[0:0::1]:{port}")
        assert listener is not None
        assert listener.address == f"[0:0::1]:{port}"
        listener.close()


def test_the_file_of_a_units_socket_is_not_ours(tmp_path):
    path = f"{tmp_path}/web.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        listener = Handed([handed(sock)]).take("web", f"unix:{path}")
    assert listener is not None
    listener.close()
    assert os.path.exists(path)


def test_a_kept_sockets_file_is_ours_while_it_is_the_same(tmp_path):
    path = f"{tmp_path}/web.sock"
    first = listen(f"unix:{path}", 1)
    again = adopt(Descriptor(os.dup(first.socket.fileno()), name_of(first)))
    assert (again.inode, again.unit) == (first.inode, "")
    first.let_go()
    again.close()
    assert not os.path.exists(path)


def test_a_kept_socket_whose_file_has_gone_is_of_no_use(tmp_path):
    path = f"{tmp_path}/web.sock"
    first = listen(f"unix:{path}", 1)
    found = Descriptor(os.dup(first.socket.fileno()), name_of(first))
    first.close()
    other = listen(f"unix:{path}", 1)
    it = Handed([found])
    assert it.take("web", f"unix:{path}") is None
    assert it.problems == []  # it will be bound anew
    assert not is_open(found.number)
    other.close()


def unusable():
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0muxproxy-test-{os.getpid()}")
    abstract.listen()
    return [
        (datagrams.detach(), "not a stream socket"),
        (bound.detach(), "does not listen: Accept=no"),
        (both.detach(), "takes IPv4, too: BindIPv6Only=ipv6-only"),
        (abstract.detach(), "a unix socket without a path"),
        (os.open("/dev/null", os.O_RDONLY), "not a stream socket|not a socket|Socket operation"),
    ]


def test_what_is_no_listening_stream_socket_is_told_and_closed(tcp):
    wrong = unusable()
    address = address_of(tcp)
    it = Handed([*(Descriptor(number, "web") for number, _ in wrong), handed(tcp)])
    assert len(it.problems) == len(wrong)
    for problem, (number, why) in zip(it.problems, wrong, strict=True):
        assert problem.startswith("web: ")
        assert any(each in problem for each in why.split("|")), problem
        assert not is_open(number)
    listener = it.take("web", address)
    assert listener is not None
    listener.close()


def test_what_no_backend_listens_on_is_told_and_stays_at_hand(tcp):
    address = address_of(tcp)
    it = Handed([handed(tcp, "muxproxy.socket")])
    assert it.idle() == [f"muxproxy.socket: no backend listens on {address}"]
    it.drop_kept()
    listener = it.take("web", address)  # at a reload
    assert listener is not None
    it.put(listener)
    assert len(it.idle()) == 1
    it.close()
    assert not is_open(listener.socket.fileno())


def test_what_was_kept_for_a_backend_that_has_gone_is_closed(tcp):
    first = listen(address_of(tcp).replace("127.0.0.1", "127.0.0.2"), 1)
    number = os.dup(first.socket.fileno())
    it = Handed([Descriptor(number, name_of(first))])
    it.drop_kept()
    assert (it.idle(), is_open(number)) == ([], False)
    it.put(first)
    assert first.socket.fileno() == -1


def test_a_name_that_is_another_backends_is_told(tcp):
    address = address_of(tcp)
    it = Handed([handed(tcp, "api")], backends=["web", "api"])
    listener = it.take("web", address)
    assert listener is not None  # the configuration says whose it is
    assert it.problems == [f"api: its address, {address}, is backend web's"]
    listener.close()
