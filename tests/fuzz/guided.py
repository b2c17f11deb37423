"""`python -m tests.fuzz.guided TARGET SECONDS FOLDER`: atheris looks for inputs that reach new code.

A program of its own: libFuzzer ends the process when its time is up (exit status 0) or an input breaks a law.
FOLDER keeps what it found worth keeping.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["muxproxy.protocols"]):
    from tests.fuzz import framers


def main() -> None:
    target, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(framers.material(target)):
        (folder / f"sample-{number}").write_bytes(bytes(4) + data)

    def one_input(data: bytes) -> None:
        """The first four bytes are the chance, the rest is what the peer says."""
        framers.check(target, Random(data[:4]), data[4:])

    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        "-max_len=20000",
        "-timeout=20",
        "-print_final_stats=1",
    ]
    atheris.Setup([*arguments, f"-artifact_prefix={folder}/fault-", str(folder)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
