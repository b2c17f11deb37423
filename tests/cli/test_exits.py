"""The table of exit codes is whole, and a Failure leaves with the code it was given."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from muxproxy.cli.exits import EXIT_CODES, MEANINGS, Exit, Failure


@pytest.mark.parametrize("code", Exit)
def test_every_code_has_a_meaning_that_help_shows(code: Exit) -> None:
    assert MEANINGS[str(code.value)] in EXIT_CODES


def test_a_failure_is_one_line_on_stderr_and_its_code() -> None:
    @click.command()
    def fails() -> None:
        raise Failure(Exit.NOT_RUNNING, "nobody there")

    result = CliRunner().invoke(fails)
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", "Error: nobody there\n")
