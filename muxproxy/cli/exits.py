"""Exit codes: one table, shown by --help and used by every command."""

from __future__ import annotations

import enum

import click


class Exit(enum.IntEnum):
    OK = 0
    CONFIG = 1
    WRONG = 1  # doctor's
    USAGE = 2  # click's own
    CANNOT_START = 3
    NOT_RUNNING = 4
    DEMO_FAILED = 5
    NO_WORKER = 6
    REFUSED = 7
    NOT_IN_TIME = 8
    BUG = 70  # EX_SOFTWARE of sysexits.h


MEANINGS = {
    str(Exit.OK.value): "done; run: stopped by a signal, and what was owed has been finished",
    str(Exit.CONFIG.value): "the configuration has errors, or does not fit in the descriptor limit; "
    "doctor: something is wrong",
    str(Exit.USAGE.value): "the command line has errors",
    str(Exit.CANNOT_START.value): "run, reload, resume: an address cannot be listened on; "
    "doctor: the kernel's list of sockets cannot be read",
    str(Exit.NOT_RUNNING.value): "status, reload and other commands: no running muxproxy answered",
    str(Exit.DEMO_FAILED.value): "demo, incident: it did not show what it is there to show, and says why",
    str(Exit.NO_WORKER.value): "run: a worker cannot be started, five times in a row",
    str(
        Exit.REFUSED.value
    ): "reload: it takes a restart or an upgrade; pause, set ...: refused. Nothing has been changed",
    str(
        Exit.NOT_IN_TIME.value
    ): "pause --wait: not all that was in flight has been finished; it stays paused",
    str(Exit.BUG.value): "muxproxy's own fault, with a traceback",
    "128+N": "run: a second signal, number N, stopped it at once; demo, incident: signal N stopped it",
}

# \b: click leaves the lines of this paragraph as they are.
EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {code:6} {meaning}" for code, meaning in MEANINGS.items())


class Failure(click.ClickException):
    """One message on stderr and one code of the table."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click declares it per class and reads it per instance
