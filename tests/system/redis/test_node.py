"""ioredis and node-redis: the same story direct and through muxproxy."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.process import node_modules, tool
from tests.system.redis.proxied import Pair

FOLDER = Path(__file__).parent / "node"


@pytest.mark.parametrize(
    ("package", "program", "arguments"),
    [
        ("ioredis@5.11.1", "ioredis.cjs", []),
        ("redis@6.3.1", "node-redis.cjs", ["2"]),
        ("redis@6.3.1", "node-redis.cjs", ["3"]),
    ],
    ids=["ioredis", "node-redis-resp2", "node-redis-resp3"],
)
def test_a_program_of_node_sees_no_difference(
    pair: Pair, package: str, program: str, arguments: list[str]
) -> None:
    node, modules = tool("node"), node_modules(package)

    def run(host: str, port: int) -> Any:
        done = subprocess.run(
            [node, str(FOLDER / program), host, str(port), *arguments],
            env=os.environ | {"NODE_PATH": modules},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    pair.assert_same(run)
