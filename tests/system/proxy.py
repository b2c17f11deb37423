"""muxproxy as an operator runs it: `python -m muxproxy run -c DIRECTORY` in a process of its own.

A `Proxy` writes one backend's configuration, waits until its workers are ready, knows its address and its
workers' process ids, and asks it for its status over the admin socket. At the end it must stop by itself
with exit code 0, and its log must not show a traceback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muxproxy.supervisor.interpreter import program
from tests.system.process import ROOT, end, wait_for

# What its one backend is called, by protocol.
NAMES = {"http": "web", "redis": "cache", "dubbo": "orders", "tcp": "ledger"}
# Short enough to be seen in a test, and none is reached unless a scenario is about it.
NODE = {"drain_timeout": "10s", "log_level": "info"}


def toml(table: dict[str, Any]) -> str:
    """Keys and values; strings, numbers and lists of them are written alike in JSON and TOML."""
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in table.items())


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(inner) for inner in value) + "]"
    return json.dumps(value)


class AdminConnection(http.client.HTTPConnection):
    """HTTP over the unix socket of the admin interface."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def admin_status(path: str) -> dict[str, Any]:
    """What the admin socket there says at /status."""
    with contextlib.closing(AdminConnection(path)) as connection:
        connection.request("GET", "/status")
        reply = connection.getresponse()
        body = reply.read()
        assert reply.status == 200, body
        return dict(json.loads(body))


class Proxy:
    """One backend. `tables` are the tables of its file: clients, queue, upstream, and its protocol's own."""

    def __init__(
        self,
        *servers: str,
        protocol: str = "http",
        node: dict[str, Any] | None = None,
        descriptors: int = 0,
        cwd: Path = ROOT,
        prefix: Sequence[str] = (),
        wait: bool = True,
        top: dict[str, Any] | None = None,
        **tables: dict[str, Any],
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="muxproxy-run-"))
        self.name = NAMES[protocol]
        self.admin = self.folder / "admin.sock"
        self._log = self.folder / "log"
        tables["clients"] = {"listen": ["127.0.0.1:0"]} | tables.get("clients", {})
        where = {"servers": list(servers)} if servers else {}  # none: where each request says
        tables["upstream"] = where | tables.get("upstream", {})
        (self.folder / "backends").mkdir()
        (self.folder / "muxproxy.toml").write_text(toml(NODE | {"admin": str(self.admin)} | (node or {})))
        text = f'protocol = "{protocol}"\n{toml(top or {})}'
        text += "".join(f"[{name}]\n{toml(keys)}" for name, keys in tables.items())
        (self.folder / "backends" / f"{self.name}.toml").write_text(text)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, *program("muxproxy"), "run", "-c", str(self.folder)],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=limit_descriptors(descriptors),  # noqa: PLW1509  (no threads here: forking is safe)
            )
        self.host, self.port = "", 0
        if wait:
            try:
                self.wait_until_ready()
            except BaseException:
                self.close()
                raise

    def wait_until_ready(self) -> None:
        what = f"muxproxy is ready; its log: {self.log()}"
        # Not more often: what starts needs the CPU, and answers each of these questions.
        status = wait_for(self._ready, within=20, what=what, every=0.02)
        listen = status["backends"][self.name]["listen"][0].removeprefix("tls:")
        self.host, _, port = listen.rpartition(":")
        self.port = int(port)

    def _ready(self) -> dict[str, Any]:
        if self.process.poll() is not None:
            raise AssertionError(f"muxproxy ended with {self.process.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = self.status()
            if all(worker["state"] == "ready" for worker in status["workers"]):
                return status
        return {}

    # What an operator sees

    def status(self) -> dict[str, Any]:
        return admin_status(str(self.admin))

    def backend(self) -> dict[str, Any]:
        """Its numbers, as soon as its worker tells them: one that is new or busy for a second does not."""
        return wait_for(self._answered, within=20, what="the worker's numbers")

    def _answered(self) -> dict[str, Any]:
        backend = dict(self.status()["backends"][self.name])
        return backend if "outcomes" in backend else {}

    def outcomes(self) -> dict[str, int]:
        """Reason -> exchanges, of all outcomes."""
        return {
            reason: number
            for reasons in self.backend()["outcomes"].values()
            for reason, number in reasons.items()
            if number
        }

    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"]]

    def log(self) -> str:
        return self._log.read_text()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    # Its end

    def stop(self, within: float = 15.0) -> None:
        """As systemd does it. Whatever is owed is finished, and the exit code says that all went well."""
        code = end(self.process, signal.SIGTERM, within)
        assert code == 0, f"muxproxy ended with {code}:\n{self.log()}"

    def close(self) -> None:
        if self.process.poll() is None:
            end(self.process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                if self.process.poll() is None:
                    self.stop()
                assert "Traceback" not in self.log(), self.log()
            else:
                print(f"muxproxy's log:\n{self.log()[-5000:]}")
        finally:
            self.close()


def limit_descriptors(limit: int) -> Callable[[], None]:
    """For the new process: both limits down to `limit`, or the soft one up to the hard one."""

    def apply() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit) if limit else (hard, hard))

    return apply


def memory(pid: int, line: str = "VmRSS") -> int:
    """Bytes, of a line of /proc/PID/status: VmRSS is what it has, VmHWM the most it ever had."""
    for text in Path(f"/proc/{pid}/status").read_text().splitlines():
        if text.startswith(line + ":"):
            return int(text.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {line}")
