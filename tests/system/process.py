"""Children of the system tests: programs in processes of their own; waiting for the world with a deadline.

Our own children (`python -m tests.system.<module>`) read one JSON line of orders, print one JSON line when
they are ready, work until their standard input ends, and print one JSON line of results. Nobody is ended by
name.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def tool(name: str) -> str:
    """The path of a program that the tests need. In CI its absence is a failure, elsewhere a skip."""
    path = shutil.which(name)
    if path is None:
        leave_out(missing(name))
    return path


def needs(name: str) -> pytest.MarkDecorator:
    """The same as a mark, for tests that start other things before they come to the program."""
    import pytest

    return pytest.mark.skipif(shutil.which(name) is None and not os.environ.get("CI"), reason=missing(name))


def node_modules(package: str) -> str:
    """What NODE_PATH must be for a package (`name@version`) that `tests/run.sh` has installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muxproxy-tests" / "node"
    if not (cache / package / "done").exists():
        leave_out(missing(package))
    return str(cache / package / "node_modules")


def leave_out(reason: str) -> NoReturn:
    import pytest  # here, for our own children import this file hundreds of times, and need no pytest

    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def missing(name: str) -> str:
    return f"{name} is not installed: run `bash tests/run.sh` as root, or install it"


def wait_for(question: Callable[[], T], *, within: float, what: str, every: float = 0.005) -> T:
    """The first true answer to `question`, asked again and again until the time is up."""
    deadline = time.monotonic() + within
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within} s still not: {what} (last answer: {answer!r})")
        time.sleep(every)


def raise_descriptor_limit() -> None:
    """2,000 clients do not fit into the usual soft limit of 1,024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def go_first() -> None:
    """In a child that needs little CPU, but at once: a judge, a clock. Only root may."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def end(process: subprocess.Popen[Any], how: int = signal.SIGTERM, within: float = 10.0) -> int:
    """End a child and reap it; a child that does not obey is killed and the test fails."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"{process.args} ignored signal {how} for {within} s") from None


class Child:
    """One of our own programs: orders in, "ready" out, results out."""

    def __init__(self, module: str, orders: dict[str, Any], pass_fds: Sequence[int] = ()) -> None:
        self.name = module
        self._rest = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
        )
        try:
            self.tell(orders)
            self.ready = self.answer(within=20)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, within: float) -> Any:
        """The next line, decoded."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        deadline = time.monotonic() + within
        pieces = [self._rest]
        while b"\n" not in pieces[-1]:
            readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise AssertionError(f"{self.name} said nothing for {within} s")
            data = os.read(fd, 1 << 20)
            if not data:
                raise AssertionError(f"{self.name} ended with code {self.process.wait()} and left no answer")
            pieces.append(data)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return json.loads(line)

    def stop(self) -> None:
        """Tell it that it is enough; `answer` then brings the results."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()

    def results(self, within: float = 60.0) -> Any:
        """Stop it and take its last word. It must end by itself and well."""
        self.stop()
        results = self.answer(within)
        code = self.process.wait(within)
        assert code == 0, f"{self.name} ended with code {code}"
        return results

    def close(self) -> None:
        self.stop()
        if self.process.poll() is None:
            end(self.process, signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_orders() -> dict[str, Any]:
    """In the child: the line that `Child` sent."""
    return dict(json.loads(sys.stdin.buffer.readline()))


def say(message: Any) -> None:
    """In the child: one line to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
