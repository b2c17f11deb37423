"""Real processes: what they inherit, and how their end is told."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio

from muxproxy.supervisor.process import ALLOCATOR, RealProcess

# Says on its control channel what the test wants to know, and then waits for the channel's end.
CHILD = """
import os, signal, socket, sys
control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
inherited = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd))
sockets = socket.socket(fileno=int(sys.argv[sys.argv.index("--sockets-fd") + 1]))
control.sendall(repr((os.getsid(0), control.fileno(), sockets.fileno(), inherited)).encode())
while control.recv(1):
    _, descriptors, _, _ = socket.recv_fds(sockets, 1, 128)
    control.sendall(repr([os.fstat(each).st_ino for each in descriptors]).encode())
sys.exit(7)
"""


def start(descriptors: list[int], code: str = CHILD) -> RealProcess:
    return RealProcess([sys.executable, "-c", code], descriptors)


async def test_a_worker_inherits_its_sockets_under_their_numbers_and_nothing_else():
    read, write = os.pipe()
    unwanted = os.dup(read)
    os.set_inheritable(unwanted, True)
    process = start([read, write])
    with trio.fail_after(30):
        session, control, sockets, inherited = eval(await process.channel.receive_some())
        assert inherited == sorted({0, 1, 2, control, sockets, read, write})
        assert session == process.pid  # a session of its own: ctrl-C is not for it
        await process.channel.aclose()
        assert await process.wait() == 7
    for fd in (read, write, unwanted):
        os.close(fd)


async def test_a_worker_keeps_memory_that_it_will_need_again_unless_the_operator_says_otherwise(monkeypatch):
    says = "control.sendall(repr({name: v for name, v in os.environ.items() if 'MALLOC' in name}).encode())"
    code = CHILD.replace("while control.recv(1):", f"{says}\nwhile control.recv(1):")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    process = start([], code)
    with trio.fail_after(30):
        told = b""
        while not told.endswith(b"}"):
            told += await process.channel.receive_some()
        assert eval(told[told.index(b"{") :]) == {**ALLOCATOR, "MALLOC_TOP_PAD_": "4096"}
        await process.channel.aclose()
        assert await process.wait() == 7


async def test_a_process_that_runs_is_handed_descriptors_in_their_order():
    read, write = os.pipe()
    process = start([])
    with trio.fail_after(30):
        await process.channel.receive_some()
        process.hand_over([write, read, write])
        await process.channel.send_all(b".")
        theirs = eval(await process.channel.receive_some())
        assert theirs == [os.fstat(each).st_ino for each in (write, read, write)]
        await process.channel.aclose()
        assert await process.wait() == 7
    with pytest.raises(OSError, match="Bad file descriptor"):
        process.hand_over([read])
    os.close(read)
    os.close(write)


async def test_a_killed_process_is_reaped_and_its_end_told_again_to_who_asks_again():
    process = start([])
    with trio.fail_after(30):
        await process.channel.receive_some()
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        assert await process.wait() == -signal.SIGKILL
    process.kill()  # of a process that is gone: nobody else may get the signal
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    await process.channel.aclose()


async def test_a_wait_that_is_cancelled_can_be_repeated():
    process = start([])
    with trio.fail_after(30):
        await process.channel.receive_some()
        with trio.move_on_after(0):
            await process.wait()
        process.kill()
        assert await process.wait() == -signal.SIGKILL
    await process.channel.aclose()


async def test_a_command_that_does_not_exist_is_an_os_error_and_leaks_nothing():
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        RealProcess(["/nobody/installed/this"], [])
    assert os.listdir("/proc/self/fd") == before


BUSY = """
import os, socket, sys
control = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
control.sendall(b"ready")
here = os.open("/dev/null", os.O_WRONLY)
while True:
    os.write(here, b"something is done")
"""
ENDLESS = BUSY.replace('os.write(here, b"something is done")', "pass")


async def grows(process: RealProcess, before: int) -> None:
    for _ in range(2000):
        if process.headway() > before:
            return
        await trio.sleep(0.01)
    pytest.fail("no headway")


@pytest.mark.parametrize("code", [BUSY, ENDLESS])
async def test_a_process_that_does_something_makes_headway_and_one_in_an_endless_loop_does_not(
    code, monkeypatch
):
    monkeypatch.setattr("muxproxy.supervisor.process.STARVED", 10**18)  # how busy the machine is
    process = start([], code)
    with trio.fail_after(30):
        await process.channel.receive_some()
        await trio.sleep(0.05)  # beyond its last call before the loop
        before = process.headway()
        assert before > 0
        if code is BUSY:
            await grows(process, before)
        else:
            await trio.sleep(0.2)
            assert process.headway() == before
        process.kill()
        await process.wait()
    assert process.headway() == 0
    await process.channel.aclose()


async def test_a_process_that_gets_no_cpu_is_not_blamed(monkeypatch):
    monkeypatch.setattr("muxproxy.supervisor.process.STARVED", 1)
    process = start([], ENDLESS)
    with trio.fail_after(30):
        await process.channel.receive_some()
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        rival = start([], ENDLESS)
        os.sched_setaffinity(rival.pid, {min(os.sched_getaffinity(0))})
        before = process.headway()
        await grows(process, before)
        for each in (process, rival):
            each.kill()
            await each.wait()
            await each.channel.aclose()
