"""Sockets where somebody else may write: what he puts in our file's place, and when, harms nothing."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muxproxy.supervisor.listening.places import Place
from muxproxy.supervisor.listening.sockets import listen

OTHER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that nobody but us may read."""
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    return victim


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    return shared


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        yield sock


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


class Meddler(socket.socket):
    """The system's socket, and somebody who acts in the very moment before or after bind(2)."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    def bind(self, address: str) -> None:
        Meddler.before()
        super().bind(address)
        Meddler.after()


@pytest.fixture
def meddler(monkeypatch: pytest.MonkeyPatch) -> type[Meddler]:
    monkeypatch.setattr(socket, "socket", Meddler)
    monkeypatch.setattr(Meddler, "before", staticmethod(lambda: None))
    monkeypatch.setattr(Meddler, "after", staticmethod(lambda: None))
    return Meddler


def test_a_link_that_is_put_there_after_bind_does_not_open_what_it_points_to(
    shared: Path, victim: Path, meddler: type[Meddler]
) -> None:
    path = shared / "web.sock"

    def exchange() -> None:
        path.unlink()
        path.symlink_to(victim)

    meddler.after = staticmethod(exchange)
    with pytest.raises(PermissionError, match="somebody else has put another file there"):
        listen(f"unix:{path}", 16)
    assert mode(victim) == 0o600


def test_who_exchanges_links_all_the_time_gets_nothing_opened(shared: Path, victim: Path) -> None:
    """The same race as it is run in earnest: another process, and many tries."""
    path = shared / "web.sock"
    code = (
        "import os, sys\n"
        "path, victim = sys.argv[1:]\n"
        "while True:\n"
        "    try:\n"
        "        os.unlink(path)\n"
        "        os.symlink(victim, path)\n"
        "    except OSError: pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path), str(victim)]) as attacker:
        try:
            for _ in range(1000):
                try:
                    listen(f"unix:{path}", 16).close()
                except OSError:
                    pass  # the attacker can keep us from listening in his directory; that is his right
                assert mode(victim) == 0o600
                assert victim.read_text() == "secret"
                if path.is_symlink():
                    path.unlink(missing_ok=True)
        finally:
            attacker.kill()


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_link_that_stands_there_before_is_not_followed_and_not_removed(
    shared: Path, victim: Path, is_dangling: bool
) -> None:
    path = shared / "web.sock"
    path.symlink_to(shared / "nothing" if is_dangling else victim)
    with pytest.raises(FileExistsError, match="no socket stands there"):
        listen(f"unix:{path}", 16)
    assert path.is_symlink()
    assert not (shared / "nothing").exists()
    assert mode(victim) == 0o600


def test_a_directory_that_becomes_another_one_meanwhile_changes_nothing_there(
    tmp_path: Path, shared: Path, meddler: type[Meddler]
) -> None:
    """`shared` may be written by everybody: who renames what is in it must not choose where our file goes."""
    (shared / "run").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def exchange() -> None:
        (shared / "run").rename(shared / "moved")
        (shared / "run").symlink_to(elsewhere)

    meddler.before = staticmethod(exchange)
    listener = listen(f"unix:{shared}/run/web.sock", 16)
    assert os.listdir(elsewhere) == []
    assert mode(shared / "moved" / "web.sock") == 0o666
    (elsewhere / "web.sock").write_text("precious")
    listener.close()
    assert os.listdir(shared / "moved") == []
    assert os.listdir(elsewhere) == ["web.sock"]


def test_the_file_is_named_as_the_kernel_knows_it_where_its_directory_stays(
    tmp_path: Path, sock: socket.socket
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    place = Place(f"{tmp_path}/link/web.sock")
    inode = place.bind(sock, 0o660)
    assert sock.getsockname() == f"{tmp_path}/run/web.sock", "ss and lsof show where it is"
    assert mode(tmp_path / "run" / "web.sock") == 0o660
    place.remove(inode)
    place.close()
    place.close()
    assert os.listdir(tmp_path / "run") == []


def test_the_umask_is_as_before(tmp_path: Path, sock: socket.socket) -> None:
    before = os.umask(0o027)
    try:
        place = Place(f"{tmp_path}/web.sock")
        place.bind(sock, 0o666)
        assert os.umask(0o027) == 0o027
        assert mode(tmp_path / "web.sock") == 0o666
        place.close()
    finally:
        os.umask(before)


@as_root
def test_a_stale_socket_of_another_user_is_told_and_left(shared: Path) -> None:
    """It is his: bound, and perhaps about to be listened on."""
    path = shared / "web.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        os.chown(path, OTHER, OTHER)
        with pytest.raises(PermissionError, match=f"a socket of another user \\(uid {OTHER}\\) stands there"):
            listen(f"unix:{path}", 16)
    assert os.lstat(path).st_uid == OTHER


def test_what_is_in_the_way_is_removed_only_if_it_still_is_what_was_looked_at(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the removal somebody puts a file of value there."""
    path = shared / "web.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))

    def look_is_over(*args: object) -> bool:
        path.unlink()
        path.write_text("precious")
        return True

    monkeypatch.setattr("muxproxy.supervisor.listening.places._is_stale", look_is_over)
    with pytest.raises(OSError, match="Address already in use"):
        listen(f"unix:{path}", 16)
    assert path.read_text() == "precious"


@as_root
def test_a_file_that_we_may_not_remove_is_left_for_the_next_start(tmp_path: Path) -> None:
    """As a user without root's rights, in a directory that has become somebody else's."""
    directory = tmp_path / "run"
    directory.mkdir()
    listener = listen(f"unix:{directory}/web.sock", 16)
    os.seteuid(OTHER)
    try:
        listener.close()
    finally:
        os.seteuid(0)
    assert os.listdir(directory) == ["web.sock"]
    listen(f"unix:{directory}/web.sock", 16).close()
    assert os.listdir(directory) == []
