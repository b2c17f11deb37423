"""WSGI servers as their users run them, behind muxproxy in the system tests: uWSGI and gunicorn.

uWSGI's `--http-socket` closes each connection after its reply and does not say so. gunicorn closes a
connection whose request body its application has not read, at once: the kernel resets it while the reply is
on its way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.system.origins import HOST, port_below_the_kernels
from tests.system.process import ROOT, end, wait_for

COMMANDS = {
    "uwsgi": [
        *("--http-socket", "{address}", "--module", "tests.system.wsgi", "--callable", "application"),
        *(
            "--master",
            "--processes",
            "4",
            "--listen",
            "100",
            "--die-on-term",
            "--need-app",
            "--disable-logging",
        ),
    ],
    "gunicorn": [
        *("--bind", "{address}", "--workers", "2", "--worker-class", "gthread", "--threads", "4"),
        *("--no-control-socket", "tests.system.wsgi:application"),
    ],
}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """/refuse: 413, the body unread, as Flask's MAX_CONTENT_LENGTH has it. Elsewhere the body comes back."""
    if environ["PATH_INFO"] == "/refuse":
        start_response("413 Request Entity Too Large", [("Content-Length", "9"), ("Connection", "close")])
        return [b"too large"]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class Wsgi:
    """`kind`: uwsgi or gunicorn, beside this interpreter."""

    def __init__(self, kind: str) -> None:
        self.address = f"{HOST}:{port_below_the_kernels()}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"muxproxy-{kind}-"))
        command = [part.format(address=self.address) for part in COMMANDS[kind]]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).parent / kind), *command],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._answers, within=20, what=f"{kind} answers")
        except BaseException:
            print((self._folder / "log").read_text()[-3000:])
            self.close()
            raise

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as sock:
            sock.settimeout(5)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(4096).startswith(b"HTTP/1.")
        return False

    def close(self) -> None:
        end(self._process, signal.SIGTERM)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Wsgi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
