"""The supervisor as a process, with real worker processes that speak a toy protocol (fake_worker.py)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from muxproxy.cli.exits import Exit
from muxproxy.config.model import Backend, Clients, Config, Node, Upstream
from muxproxy.supervisor.main import EXIT_NO_WORKER

SCRIPT = str(Path(__file__).with_name("run_supervisor.py"))


class Running:
    """A running supervisor: its log line by line, its workers' sockets, its admin pages."""

    def __init__(self, process: trio.Process, admin: str) -> None:
        self.process = process
        self.admin = admin
        self.lines: list[str] = []
        self.ports: dict[str, int] = {}
        self._rest = b""

    async def wait_line(self, pattern: str) -> re.Match[str]:
        """The next line of the log that matches."""
        while True:
            line = await self._next_line()
            if found := re.search(pattern, line):
                return found

    async def _next_line(self) -> str:
        while b"\n" not in self._rest:
            data = await self.process.stderr.receive_some()
            assert data, "the log has ended:\n" + "\n".join(self.lines)
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        self.lines.append(line.decode())
        if found := re.search(r"backend name=(\w+) .*listen=127\.0\.0\.1:(\d+)", self.lines[-1]):
            self.ports[found[1]] = int(found[2])
        return self.lines[-1]

    async def wait_serving(self) -> None:
        await self.wait_line(" serving ")

    async def connect(self, backend: str = "web") -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.ports[backend])

    async def say(self, word: str, backend: str = "web") -> int:
        """Returns the pid of the worker that heard it."""
        async with await self.connect(backend) as client:
            await client.send_all(word.encode())
            return int(await client.receive_some())

    async def get(self, target: str) -> tuple[int, bytes]:
        async with await trio.open_unix_socket(self.admin) as stream:
            await stream.send_all(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            raw = b"".join([chunk async for chunk in stream])
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    async def status(self) -> dict:
        _, body = await self.get("/status")
        return json.loads(body)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def exit_status(self) -> int:
        return await self.process.wait()


def backend(name: str, listen: str) -> Backend:
    return Backend(
        name=name,
        protocol="http",
        clients=Clients(listen=(listen,)),
        upstream=Upstream(servers=("127.0.0.1:9",), max_connections=3),
    )


@asynccontextmanager
async def supervisor(
    tmp_path,
    *options: str,
    listen=("127.0.0.1:0",),
    workers=1,
    drain_timeout=30.0,
    env=None,
    before=(),
    pass_fds=(),
):
    """Everything within 60 s, and nothing is left behind."""
    admin = str(tmp_path / "admin.sock")
    names = ("web", "api", "db")[: len(listen)]
    config = Config(
        node=Node(workers=workers, drain_timeout=drain_timeout, admin=admin),
        backends=tuple(backend(name, address) for name, address in zip(names, listen, strict=True)),
    )
    command = [*before, sys.executable, SCRIPT, msgspec.json.encode(config).decode(), *options]
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            command, stderr=subprocess.PIPE, env=os.environ | (env or {}), pass_fds=pass_fds
        )
        try:
            yield Running(process, admin)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
                await process.stderr.aclose()


def process_state(pid: int) -> str:
    """One letter, proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


@asynccontextmanager
async def watched(pid: int):
    """Yields a function that waits for the end of a process that is not our child."""
    pidfd = os.pidfd_open(pid)
    try:
        yield partial(trio.lowlevel.wait_readable, pidfd)
    finally:
        os.close(pidfd)


async def test_a_killed_worker_is_replaced_while_clients_wait_in_the_backlog(tmp_path):
    async with supervisor(tmp_path) as it:
        await it.wait_serving()
        first = await it.say("pid")
        os.kill(first, signal.SIGSTOP)  # so that who connects now is certainly not served by it
        while process_state(first) != "T":
            await trio.lowlevel.checkpoint()
        async with await it.connect() as client:
            await client.send_all(b"pid")
            os.kill(first, signal.SIGKILL)
            second = int(await client.receive_some())
        assert second != first
        await it.wait_line(r"worker died worker=0 pid=\d+ how=\"killed by SIGKILL\" .* pause=0$")
        [worker] = (await it.status())["workers"]
        assert (worker["pid"], worker["restarts"], worker["state"]) == (second, 1, "ready")


async def test_one_workers_death_leaves_the_others_alone(tmp_path):
    async with supervisor(tmp_path, listen=("127.0.0.1:0", "127.0.0.1:0"), workers=2) as it:
        await it.wait_serving()
        web, api = await it.say("pid", "web"), await it.say("pid", "api")
        assert web != api
        os.kill(web, signal.SIGKILL)
        await it.wait_line("worker died")
        await it.wait_line("worker ready")
        assert await it.say("pid", "api") == api
        assert await it.say("pid", "web") != web


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_exits_0(tmp_path, number):
    local = f"unix:{tmp_path}/web.sock"
    async with supervisor(tmp_path, listen=("127.0.0.1:0", local)) as it:
        await it.wait_serving()
        async with await it.connect() as client:
            await client.send_all(b"hold")
            while (await it.status())["backends"]["web"]["clients"] != 1:
                pass
            it.signal(number)
            assert await client.receive_some() == b"released\n"
        await it.wait_line(r"worker drained worker=0 .* cut_off=0")
        assert await it.exit_status() == 0
        with pytest.raises(OSError, match=r"refused|all attempts to connect"):
            await it.connect()
    assert [entry for entry in os.listdir(tmp_path) if entry.endswith(".sock")] == []


async def test_a_worker_that_does_not_drain_in_time_is_killed_and_that_is_no_failure(tmp_path):
    async with supervisor(tmp_path, drain_timeout=0.0) as it:
        await it.wait_serving()
        pid = await it.say("stubborn")
        async with watched(pid) as wait_ended:
            it.signal(signal.SIGTERM)
            await it.wait_line("worker did not stop in time, killed")
            assert await it.exit_status() == 0
            await wait_ended()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once_and_exits_128_and_its_number(tmp_path, second):
    async with supervisor(tmp_path, drain_timeout=3600.0) as it:
        await it.wait_serving()
        pid = await it.say("stubborn")
        async with watched(pid) as wait_ended:
            it.signal(signal.SIGTERM)
            await it.wait_line(" draining ")
            it.signal(second)
            assert await it.exit_status() == 128 + second
            await wait_ended()


@pytest.mark.parametrize("word", ["pid", "deaf"])
async def test_a_killed_supervisor_takes_its_workers_with_it(tmp_path, word):
    """Also those that do not read their channel."""
    async with supervisor(tmp_path) as it:
        await it.wait_serving()
        pid = await it.say(word)
        async with watched(pid) as wait_ended:
            it.signal(signal.SIGKILL)
            await wait_ended()
        with pytest.raises(OSError, match=r"refused|all attempts to connect"):
            await it.connect()


@pytest.mark.parametrize(
    ("word", "why"),
    [("garbage", "wrote garbage on its control channel"), ("hush", "closed its control channel")],
)
async def test_a_worker_that_does_not_talk_as_it_should_is_killed_and_replaced(tmp_path, word, why):
    async with supervisor(tmp_path) as it:
        await it.wait_serving()
        pid = await it.say(word)
        await it.wait_line(f"worker died .*{why}.*; killed")
        assert await it.say("pid") != pid


async def test_a_worker_that_does_not_answer_is_shown_so_and_the_others_are_still_shown(tmp_path):
    async with supervisor(tmp_path, listen=("127.0.0.1:0", "127.0.0.1:0"), workers=2) as it:
        await it.wait_serving()
        await it.say("deaf", "web")
        status = await it.status()
        while [worker["answering"] for worker in status["workers"]] != [True, False]:
            status = await it.status()  # on a busy machine the other may be late too, for once
        backends = status["backends"]
        assert (backends["api"]["state"], backends["api"]["clients"]) == ("serving", 0)
        assert (backends["web"]["state"], backends["web"]["upstream_max"]) == ("worker not answering", 3)
        body = b""
        while b'muxproxy_clients{backend="api"} 0\n' not in body:  # the same
            code, body = await it.get("/metrics")
            assert code == 200
            assert b'muxproxy_worker_up{worker="1"} 0\n' in body
        assert (await it.get("/healthz"))[0] == 200
        code, body = await it.get("/readyz?backend=web")
        assert (code, json.loads(body)["cannot"]) == (503, {"web": "worker not answering"})


async def test_a_worker_that_cannot_start_is_tried_again_and_the_port_stays_ours(tmp_path):
    lives = tmp_path / "lives"
    lives.mkdir()
    async with supervisor(tmp_path, "--exit", "70", "--hold", str(lives)) as it:
        await it.wait_line(r"worker died worker=0 pid=\d+ how=\"exit status 70\" lived=0 pause=0$")
        await it.wait_line(r"worker died .*\"exit status 70\" .* pause=0\.0\d+$")
        client = await it.connect()  # waits in the backlog
        status = await it.status()
        assert status["state"] == "starting"
        assert (await it.get("/healthz"))[0] == 200
        code, body = await it.get("/readyz")
        assert (code, json.loads(body)["cannot"]) == (503, {"muxproxy": "starting"})
        it.signal(signal.SIGTERM)
        await it.wait_line(" draining ")
        shutil.rmtree(lives)
        assert await it.exit_status() == 0
        await client.aclose()


@pytest.mark.parametrize("options", [("--exit", "1"), ()], ids=["ends", "not-executable"])
async def test_a_worker_that_never_starts_ends_the_service_with_a_status_of_its_own(tmp_path, options):
    """Its ports would accept, and nobody ever answer."""
    environment = {} if options else {"FAKE_WORKER": str(tmp_path)}  # a directory is nothing to exec
    async with supervisor(tmp_path, *options, env=environment) as it:
        await it.wait_line(r"worker cannot be started worker=0 how=.* tries=5$")
        assert await it.exit_status() == EXIT_NO_WORKER == Exit.NO_WORKER
        with pytest.raises(OSError, match=r"refused|all attempts to connect"):
            await it.connect()


async def test_an_address_in_use_is_told_with_every_other_and_exits_3(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        taken = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (one, two)]
        async with supervisor(tmp_path, listen=(taken[0], "127.0.0.1:0", taken[1])) as it:
            await it.wait_line(f"backend web: cannot listen on {taken[0]}: another process listens there")
            await it.wait_line(f"backend db: cannot listen on {taken[1]}: another process listens there")
            assert await it.exit_status() == 3


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """systemd's end of sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as it:
        it.bind(f"{tmp_path}/notify")
        it.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        yield it


async def told(manager) -> tuple[list[str], list[int]]:
    """The next words, and descriptors, that are no pulse."""
    while True:
        await trio.lowlevel.wait_readable(manager)
        words, descriptors, _, _ = socket.recv_fds(manager, 4096, 4)
        lines = words.decode().splitlines()
        if lines[0].partition("=")[0] not in ("WATCHDOG", "STATUS"):
            return lines, descriptors


async def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path, manager):
    async with supervisor(tmp_path) as it:
        assert await told(manager) == (["READY=1", "STATUS=serving 1 backend"], [])
        it.signal(signal.SIGHUP)
        (first, _), (second, _) = await told(manager), await told(manager)
        assert (first[0], first[1][:15], second) == ("RELOADING=1", "MONOTONIC_USEC=", ["READY=1"])
        it.signal(signal.SIGTERM)
        assert (await told(manager))[0][0] == "STOPPING=1"
        assert await it.exit_status() == 0


async def test_what_systemd_keeps_is_taken_back_and_who_waits_is_served(tmp_path, manager, monkeypatch):
    local = str(tmp_path / "web.sock")
    async with supervisor(tmp_path, listen=(f"unix:{local}",)) as it:
        (put, name), [kept] = await told(manager)
        await it.wait_serving()
        it.signal(signal.SIGTERM)
        assert await it.exit_status() == 0
    assert put == "FDSTORE=1"
    async with await trio.open_unix_socket(local) as client:  # while nobody runs
        await client.send_all(b"pid")
        # What systemd does: from 3 on, and $LISTEN_PID is who is exec'ed.
        monkeypatch.setenv("LISTEN_FDS", "1")
        monkeypatch.setenv("LISTEN_FDNAMES", name.removeprefix("FDNAME="))
        handed = ["bash", "-c", f'exec 3<&{kept} {kept}<&-; LISTEN_PID=$$ exec "$@"', "-"]
        async with supervisor(tmp_path, listen=(f"unix:{local}",), before=handed, pass_fds=[kept]) as it:
            os.close(kept)
            await it.wait_serving()
            assert int(await client.receive_some()) > 0
            it.signal(signal.SIGKILL)
