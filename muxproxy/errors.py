"""One tree of errors, by whose fault it is: the peer's, the operator's, or ours.

The name of a class answers the first question of whoever reads the log at three in the morning. A peer's
error never leaves the connection it came from; an operator's error stops a start-up or a reload before
anything changed.
"""

from __future__ import annotations

from dataclasses import dataclass


class MuxproxyError(Exception):
    """The root: nothing raises it as such."""


class PeerError(MuxproxyError):
    """A client or a server broke its protocol. `str()` is one line for the log and for the refusal's body."""


class OperatorError(MuxproxyError):
    """The configuration or the command line cannot be obeyed. `str()` says what to change."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one configuration file."""

    file: str
    key: str  # dotted path inside the file, "" for the file as a whole
    value: str  # as written, "" where there is none
    rule: str  # what would be accepted

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where} = {self.value}: {self.rule}" if self.value else f"{where}: {self.rule}"


class ConfigError(OperatorError):
    """Every problem of every file, at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class BugError(MuxproxyError):
    """Ours: a state that the tables say cannot be. The connection it happened on is closed (P2)."""
