"""/proc/net/tcp: lines as Linux prints them, and the kernel's own, which must say what sock_diag says."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from muxproxy.doctor.reading.diag import Diag
from muxproxy.doctor.reading.procnet import ProcNet
from muxproxy.doctor.reading.sockets import ends

TITLE = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
MORE = " 1 00000000ab96b9dc 100 0 0 10 0\n"
ONE, OTHER = "0100000A:9C40", "0500000A:18EB"  # 10.0.0.1:40000, 10.0.0.5:6379
LISTENING = f"   0: 00000000:0050 00000000:0000 0A 00000000:00000003 00:00000000 00000000 33 0 70{MORE}"
OPEN = f"   1: {ONE} {OTHER} 01 00000000:00000000 02:000003E8 00000000 1000 0 51{MORE}"
SILENT = f"   2: {ONE[:-1]}1 {OTHER} 02 00000001:00000000 01:00000064 00000002 1000 0 52{MORE}"
WAITING = f"100000: {ONE[:-1]}2 {OTHER} 06 00000000:00000000 03:00001743 00000000 0 0 0 3 000000003c\n"
V6 = "0000000000000000FFFF0000"
MAPPED = f"   0: {V6}{ONE} {V6}{OTHER} 08 00000000:00000007 00:00000000 00000000 0 0 53{MORE}"

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the lines are a little-endian machine's")


@pytest.fixture
def told(tmp_path: Path) -> ProcNet:
    (tmp_path / "tcp").write_text(TITLE + LISTENING + OPEN + SILENT + WAITING)
    (tmp_path / "tcp6").write_text(TITLE + MAPPED)
    return ProcNet("Operation not permitted", tmp_path)


def test_lines_are_sockets(told: ProcNet) -> None:
    (listening,) = told.listening()
    assert (listening.local_port, listening.queue, listening.backlog, listening.inode) == (80, 3, 0, 70)
    opened, silent, mapped = told.live()
    assert (
        ends(opened.family, opened.key) == ends(mapped.family, mapped.key) == ("10.0.0.1", "10.0.0.5", 6379)
    )
    assert (opened.state, opened.local_port, opened.uid, opened.inode) == ("ESTABLISHED", 40000, 1000, 51)
    assert (silent.state, silent.is_unanswered, opened.is_unanswered) == ("SYN_SENT", True, False)
    assert (mapped.state, mapped.queue) == ("CLOSE_WAIT", 7)
    (_, [(_, port, key, cookie, expires)]), (_, []) = told.time_waits()
    assert (int.from_bytes(port, "big"), expires) == (40002, 59_550)
    assert (key, len({cookie, opened.cookie, silent.cookie, mapped.cookie})) == (opened.key, 4)


def test_without_ipv6_there_is_no_tcp6_and_without_tcp_there_is_nothing(
    told: ProcNet, tmp_path: Path
) -> None:
    (tmp_path / "tcp6").unlink()
    assert len(told.live()) == 2
    (tmp_path / "tcp").unlink()
    with pytest.raises(FileNotFoundError):
        told.listening()


def test_of_this_machine_it_says_what_sock_diag_says() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0],
    ):
        for lister in (ProcNet("refused"), Diag()):
            mine = [each for each in lister.live() if each.local_port == client.getsockname()[1]]
            (one,) = (each for each in mine if each.state == "ESTABLISHED")
            assert ends(one.family, one.key) == ("127.0.0.1", *server.getsockname())
            assert one.uid == os.geteuid()
            assert server.getsockname()[1] in {each.local_port for each in lister.listening()}
            lister.close()
