"""Both builds' framers, fed with the same inputs by the million: they must say the same, and none may raise.

`python -m tests.fuzz builds --python PURE --python COMPILED` starts each of the interpreters as
`python -m tests.fuzz.builds TARGET SEED COUNT`, which prints a check sum of all frames for each BATCH of
inputs, and compares. Inputs are samples with a few bytes changed, cut or repeated: cheap, so that there can
be many. What an index beyond the end or a length beyond 2^64 does in compiled code shows here, as another sum
or a crash.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from random import Random
from zlib import crc32

from muxproxy.config.model import Http
from muxproxy.protocols.contract import Frame
from muxproxy.protocols.http import HttpProtocol
from tests.fuzz import samples
from tests.protocols.dubbo import feeding as dubbo
from tests.protocols.http import feeding as http
from tests.protocols.redis.framing import feeding as redis

TARGETS = (
    "http requests",
    "http replies",
    "redis requests",
    "redis replies",
    "dubbo requests",
    "dubbo replies",
)
BATCH = 20_000
TURNS = 100_000  # of one input, far beyond what any has: `more` that never ends is a fault
# The protocols remember what they have seen; so that a fault can be found again, not for longer than this.
REMEMBERS = 1_000  # inputs

_INSERTS = (
    b"\r\n",
    b"\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"-",
    b"9" * 20,
    b"18446744073709551616",
    b":",
)


def mutated(chance: Random, those: tuple[bytes, ...]) -> bytes:
    """One to four changes of one or two samples."""
    draw = chance.random
    data = bytearray(those[int(draw() * len(those))])
    if draw() < 0.3:
        data += those[int(draw() * len(those))]
    for _ in range(1 + int(draw() * 4)):
        at = int(draw() * (len(data) + 1))
        what = int(draw() * 5)
        if what == 0 and at < len(data):
            data[at] = int(draw() * 256)
        elif what == 1 and at < len(data):
            data[at] ^= 1 << int(draw() * 8)
        elif what == 2:
            data[at:at] = _INSERTS[int(draw() * len(_INSERTS))]
        elif what == 3:
            del data[at : at + 1 + int(draw() * 8)]
        else:
            data[at:at] = data[max(0, at - int(draw() * 16)) : at]
    return bytes(data)


class Target:
    """What is fed, and the sum of what it said."""

    def __init__(self, name: str) -> None:
        protocol, side = name.split()
        self._those = samples.requests(protocol) if side == "requests" else samples.replies(protocol)
        self._feed: Callable[[Random, bytes], None] = getattr(self, f"_{protocol}_{side}")
        self.sum = 0
        self.forget()

    def forget(self) -> None:
        self._http = HttpProtocol(Http(), http.HOST)
        self._redis = redis.settings()

    def run(self, chance: Random) -> None:
        self._feed(chance, mutated(chance, self._those))

    def _said(self, frames: list[Frame] | tuple[Frame, ...]) -> None:
        total = self.sum
        for frame in frames:
            total = crc32(frame.data, total + frame.marks + frame.tag * 31 + frame.weight) & 0xFFFFFFFF
        self.sum = total

    def _all(self, framer: object, data: bytes, chance: Random) -> None:
        cut = int(chance.random() * 2 * len(data))  # half of them come in two pieces
        for piece in (data[:cut], data[cut:]) if cut < len(data) else (data,):
            self._said(framer.feed(piece))
            for _ in range(TURNS):
                if not framer.more:
                    break
                self._said(framer.feed(b""))
            else:
                raise AssertionError("there is always more")

    def _http_requests(self, chance: Random, data: bytes) -> None:
        framer = self._http.requests()
        self._all(framer, data, chance)
        for _ in range(4):
            framer.resume()
            self._said(framer.feed(b""))

    def _http_replies(self, chance: Random, data: bytes) -> None:
        framer = self._http.replies()
        framer.expect(int(chance.random() * 16))
        self._all(framer, data, chance)
        self._said(framer.eof())

    def _redis_requests(self, chance: Random, data: bytes) -> None:
        framer = redis.RequestFramer(self._redis)
        framer.trusted = chance.random() < 0.8
        framer.runs = chance.random() < 0.5
        self._all(framer, data, chance)
        for _ in range(4):
            framer.resume()
            self._said(framer.feed(b""))

    def _redis_replies(self, chance: Random, data: bytes) -> None:
        framer = redis.ReplyFramer(self._redis)
        for _ in range(int(chance.random() * 8)):
            framer.expect(redis.GET if chance.random() < 0.7 else redis.SET)
        self._all(framer, data, chance)
        self._said(framer.eof())

    def _dubbo_requests(self, chance: Random, data: bytes) -> None:
        self._all(dubbo.protocol(max_frame=1 << 16).requests(), data, chance)

    def _dubbo_replies(self, chance: Random, data: bytes) -> None:
        self._all(dubbo.protocol(max_frame=1 << 16).replies(), data, chance)


def sums(name: str, seed: int, count: int) -> list[int]:
    """After each BATCH of inputs, and at the end."""
    target, told = Target(name), []
    for number in range(count):
        if number % REMEMBERS == 0:
            chance = Random(f"{name} {seed} {number}")
            target.forget()
        target.run(chance)
        if (number + 1) % BATCH == 0 or number + 1 == count:
            told.append(target.sum)
    return told


def differences(pythons: Sequence[str], target: str, seed: int, count: int) -> list[str]:
    """Batches of which these interpreters do not say the same, one line each; nothing if all do."""
    commands = [[python, "-m", "tests.fuzz.builds", target, str(seed), str(count)] for python in pythons]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    told = [one.communicate() for one in running]
    wrong = [
        f"{python} ended with {one.returncode}: {errors[-2000:]}"
        for python, one, (_, errors) in zip(pythons, running, told, strict=True)
        if one.returncode
    ]
    return wrong or unlike([output.split() for output, _ in told], seed)


def unlike(told: Sequence[Sequence[str]], seed: int) -> list[str]:
    """`told`: for each interpreter its sums."""
    if len({len(each) for each in told}) != 1 or not told[0]:
        return [f"not as many batches: {[len(each) for each in told]}"]
    return [
        f"seed {seed + number * BATCH}: {batch}"
        for number, batch in enumerate(zip(*told, strict=True))
        if len(set(batch)) != 1
    ]


def main() -> None:
    name, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for one in range(0, count, BATCH):
        for told in sums(name, seed + one, min(BATCH, count - one)):
            print(f"{told:08x}", flush=True)


if __name__ == "__main__":
    main()
