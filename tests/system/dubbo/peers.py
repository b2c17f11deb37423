"""Real providers and consumers, each in a process of its own: npm's sofa-rpc-node (both sides) and dubbo2.js
(consumer), PyPI's dubbo-py (both sides). What they are told and what they answer: node/sofa.js says it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.system.process import ROOT, end, node_modules, tool

NODE = Path(__file__).parent / "node"
SOFA = ("sofa-rpc-node@2.10.0", "js-remoting-for-apache-dubbo@1.0.0")
DUBBO2 = ("dubbo2.js@2.3.9",)
PROVIDERS = ("sofa", "dubbo-py")
CONSUMERS = ("sofa", "dubbo2", "dubbo-py")


class Program:
    """One JSON line in, one JSON line out."""

    def __init__(self, command: list[str], packages: tuple[str, ...], orders: dict[str, Any]) -> None:
        modules = os.pathsep.join(node_modules(package) for package in packages)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"NODE_PATH": modules},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # they warn of what these tests are about
        )
        self._rest = b""
        try:
            self.ready = self.ask(orders)
        except BaseException:
            self.close()
            raise

    def ask(self, message: Any, within: float = 60.0) -> Any:
        self.tell(message)
        return self.answer(within)

    def tell(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, within: float = 60.0) -> Any:
        assert self.process.stdout is not None
        pieces = [self._rest]
        while b"\n" not in pieces[-1]:
            readable, _, _ = select.select([self.process.stdout], [], [], within)
            assert readable, f"{self.process.args} said nothing for {within} s"
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            assert data, f"{self.process.args} ended with code {self.process.wait()}"
            pieces.append(data)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        end(self.process, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RealProvider(Program):
    """`heartbeat`: seconds between dubbo-py's own heartbeats."""

    def __init__(self, kind: str, port: int = 0, **orders: Any) -> None:
        if kind == "sofa":
            command, packages = [tool("node"), str(NODE / "provider.js")], SOFA
        else:
            command, packages = [sys.executable, "-m", "tests.system.dubbo.dubbopy_provider"], ()
        super().__init__(command, packages, {"port": port} | orders)
        self.port = self.ready["port"]
        self.pid = str(self.ready["pid"])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class Consumer(Program):
    """`heartbeat`: milliseconds between dubbo2.js's. `servers`: whom Node's know, in place of `port` here."""

    def __init__(self, kind: str, port: int = 0, **orders: Any) -> None:
        self.kind = kind
        if kind == "dubbo-py":
            command, packages = [sys.executable, "-m", "tests.system.dubbo.dubbopy_consumer"], ()
        else:
            command = [tool("node"), str(NODE / f"{kind}.js")]
            packages = SOFA if kind == "sofa" else DUBBO2
        super().__init__(command, packages, {"port": port} | orders)

    def calls(self, *calls: tuple[str, ...], **more: Any) -> list[Any]:
        """(method, argument ...) each, all at once; the values, or the errors as ("error", text)."""
        answers = self.ask([{"method": method, "args": args} | more for method, *args in calls])
        return [answer.get("value", ("error", answer.get("error"))) for answer in answers]

    def call(self, method: str, *args: Any, **more: Any) -> Any:
        return self.calls((method, *args), **more)[0]

    def beat(self) -> None:
        self.ask([{"heartbeat": True}])
