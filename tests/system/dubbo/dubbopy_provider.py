"""A provider: dubbo-py's server. Orders as node/provider.js has them, and {"heartbeat": seconds}: its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import dubbo.server
from dubbo.codec import hessian2
from dubbo.server import DubboService


def fail(text: str) -> None:
    raise RuntimeError(text)


def sleep(ms: str, text: str) -> str:
    _sleep(float(ms) / 1000)
    return text


_sleep = time.sleep
noted: list[str] = []


def note(text: str) -> str:
    noted.append(text)
    return "noted"


METHODS: dict[str, Callable[..., Any]] = {
    "echo": lambda value: value,
    "fail": fail,
    "sleep": sleep,
    "note": note,
    "notes": lambda: ",".join(noted) or "none",
    "who": lambda: str(os.getpid()),
}


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    dubbo.server.get_pub_ip = lambda: "127.0.0.1"  # its own asks an address on the Internet
    dubbo.server.time = type("Time", (), {"sleep": lambda _: _sleep(orders.get("heartbeat", 60))})
    hessian2.long = hessian2.double = type("Nothing", (), {})  # names that its encoder forgot to define
    service = DubboService(orders["port"], "orders")
    for name, handler in METHODS.items():
        service.add_method("com.acme.Orders", name, handler)
    service.start()
    port = service._server.server.socket.getsockname()[1]
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
