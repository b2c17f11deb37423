"""A show's processes and its folder: started, listened to, and gone at the end, however it comes.

Children are in process groups of their own, so that ctrl-C reaches only us and we end them in order. Signals
are noted and obeyed at the next turn(): no exception falls between the start of a child and its registration.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muxproxy.stage.pipes import Lines, encode
from muxproxy.supervisor.interpreter import program

TURN = 0.05  # seconds: how long a signal or a dead child may go unnoticed
GOODBYE = 5.0  # seconds for each child to end by itself
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOG_LINES = 5  # of a dead child's log, in the error
_CHUNK = 64 * 1024
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Handlers = dict[int, Any]
Before = Callable[[], None]  # done in a child between fork and exec


class Broken(Exception):  # noqa: N818  # said of the show
    """It cannot go on; `str()` says why."""


class Stopped(Exception):  # noqa: N818  # nobody's error: what was asked for
    """A signal said so."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Child:
    """A process of ours. It takes orders by its stdin, if it takes any; its stderr goes to a log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.is_errand = False  # it has an end, and a good one is no mishap
        self.process = process
        self.log = log
        self.lines = Lines()

    def tell(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(encode(order))
            self.process.stdin.flush()
        except BrokenPipeError:
            self.check()
            raise

    def check(self) -> None:
        """Raises Broken if it has ended."""
        code = self.process.poll()
        if code is None or (code == 0 and self.is_errand):
            return
        how = f"with exit status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        last = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        raise Broken("\n  ".join([f"{self.name} ended {how}; there is no going on", *last]))


class Stage:
    def __init__(self, show: str) -> None:
        self._show = show  # what the folder is called after

    def __enter__(self) -> Stage:
        self._signal = 0
        self._started = 0
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        self.folder = Path(tempfile.mkdtemp(prefix=f"muxproxy-{self._show}-"))
        return self

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = number

    def program(self, module: str, name: str, before: Before | None = None) -> Child:
        """A module that takes orders and reports (pipes.py). `before` is called in the new process."""
        child = self._start(name, program(module), subprocess.PIPE, subprocess.PIPE, before)
        assert child.process.stdout is not None
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)
        return child

    def proxy(self, config: Path, name: str, before: Before | None = None) -> Child:
        """`muxproxy run`, as an operator types it."""
        return self.server([*program("muxproxy"), "run", "-c", str(config)], name, before)

    def server(self, command: Sequence[str], name: str, before: Before | None = None) -> Child:
        """Anybody's program. It reads no orders: the kernel tells it if we die."""
        return self._start(name, command, subprocess.DEVNULL, subprocess.DEVNULL, _dying(before))

    def errand(self, words: Sequence[str], output: Path, before: Before | None = None) -> Child:
        """A command of muxproxy's that comes to an end by itself; what it prints is in `output`."""
        command = [*program("muxproxy"), *words]
        with output.open("wb") as file:
            name = " ".join(("muxproxy", *words))
            child = self._start(name, command, subprocess.DEVNULL, file.fileno(), _dying(before))
        child.is_errand = True
        return child

    def end(self, child: Child) -> None:
        """Before the show is over: its words and its death are nobody's concern any more."""
        self._children.remove(child)
        if child.process.stdout is not None:
            self._forget(child)
        _end(child.process)

    def _forget(self, child: Child) -> None:
        assert child.process.stdout is not None
        try:
            self._selector.unregister(child.process.stdout)
        except KeyError:
            pass  # it has said its last

    def _start(
        self,
        name: str,
        command: Sequence[str],
        stdin: int,
        stdout: int,
        before: Before | None,
    ) -> Child:
        path = self.folder / f"{self._started}.log"
        self._started += 1
        with path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=log,
                process_group=0,
                preexec_fn=before,  # noqa: PLW1509  # no threads here: safe after fork
            )
        child = Child(name, process, path)
        self._children.append(child)
        return child

    def turn(self, timeout: float = TURN) -> list[tuple[Child, dict[str, Any]]]:
        """What the children said meanwhile. Raises Stopped after a signal, Broken if a child has ended."""
        said = []
        for key, _ in self._selector.select(min(timeout, TURN)):
            data = os.read(key.fd, _CHUNK)
            if not data:
                self._selector.unregister(key.fileobj)
            said += [(key.data, message) for message in key.data.lines.feed(data)]
        if self._signal:
            raise Stopped(self._signal)
        for child in self._children:
            child.check()
        return said

    def await_word(self, child: Child, word: str, within: float) -> Any:
        """What `child` says under `word`; other messages are passed over. Raises like turn()."""
        for _ in range(round(within / TURN)):
            for sender, message in self.turn():
                if sender is child and word in message:
                    return message[word]
        raise Broken(f"{child.name} did not say {word!r} within {within:g}s")

    def await_all(self, children: Sequence[Child], word: str, within: float) -> None:
        """That each says `word`, in whatever order: those that start together are not slower than one."""
        owed = list(children)
        for _ in range(round(within / TURN)):
            for sender, message in self.turn():
                if sender in owed and word in message:
                    owed.remove(sender)
            if not owed:
                return
        raise Broken(f"{owed[0].name} did not say {word!r} within {within:g}s")

    def __exit__(self, *_: object) -> None:
        """The last started ends first: the clients before the proxy, the proxy before the origin."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # we are ending, and each wait below has its bound
        for child in reversed(self._children):
            _end(child.process)
        self._selector.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asked first: by the end of its orders, or by SIGTERM if it takes none."""
    if process.stdin is not None:
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # it is dead already, with an order unread
    elif process.poll() is None:
        process.terminate()
    try:
        process.wait(GOODBYE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _dying(before: Before | None) -> Before:
    """Done before a program begins that takes no orders."""
    die = _die_with_parent()

    def prepare() -> None:
        die()
        if before is not None:
            before()

    return prepare


def _die_with_parent() -> Callable[[], None]:
    """For the new process: SIGTERM when we are killed (prctl(2); it survives execve)."""
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
