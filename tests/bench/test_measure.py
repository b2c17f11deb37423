"""How the kernel's figures and the loads' own are read. What they are is never asserted."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from tests.bench import measure


def test_a_process_name_with_blanks_and_parentheses_does_not_shift_the_fields_of_stat():
    text = "12 (a) R (b) S 7 12 12 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 99 0 0"
    assert measure.parse_stat(text) == (7, 124)  # user 100, system 20, reaped children 3 and 1


def test_cpu_is_split_into_user_space_and_kernel_with_reaped_children():
    text = "12 (a) R (b) S 7 12 12 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 99 0 0"
    assert measure.parse_split(text) == (103, 21)


def test_a_family_holds_the_process_itself_and_what_descends_from_it():
    assert os.getpid() in measure.family(os.getppid())


def test_a_process_that_has_ended_has_no_stat():
    assert measure.stat(1 << 30) is None


def test_pss_is_read_and_not_one_of_its_parts():
    text = (
        "00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss: 512 kB\nPss_Anon: 300 kB\n"
    )
    text = text.replace(": ", ":            ")
    assert measure.parse_pss(text) == 512


def test_smaps_without_pss_is_an_error_and_not_zero():
    with pytest.raises(ValueError, match="no Pss"):
        measure.parse_pss("Rss: 900 kB\n")


def test_a_core_counts_what_it_ran_and_neither_idleness_nor_interrupts():
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 900 900 900 900 8 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n"
    assert measure.parse_core(text, 0) == 15
    with pytest.raises(ValueError, match="no cpu2"):
        measure.parse_core(text, 2)


def test_sockets_are_the_most_that_were_seen_at_once_without_our_own():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        ours = socket.create_connection(address)
        sockets = measure.Sockets(f"127.0.0.1:{address[1]}", ours=ours.getsockname()[1])
        with ours, socket.create_connection(address), socket.create_connection(address):
            sockets.look()
        sockets.look()
        sockets.close()
    assert sockets.most == 2


def test_a_load_tells_its_figures_in_its_last_line():
    ours = '{"done": 50, "microseconds": 4000000, "p50": 11, "p99": 22, "errors": 3}'
    figures = measure.parse_report(f"Running 4s test\n  Requests/sec: 9\n{ours}\n")
    assert (figures.done, figures.seconds, figures.p50_us, figures.p99_us, figures.errors) == (
        50, 4.0, 11, 22, 3,
    )  # a table  # fmt: skip


def test_a_load_without_figures_is_an_error_that_shows_what_it_said():
    with pytest.raises(measure.LoadError, match="unable to connect"):
        measure.parse_report("unable to connect")


def test_programs_run_side_by_side_and_are_looked_at_until_the_last_has_ended():
    looks = []
    quick, slow = "print(1)", "import time; time.sleep(0.05); print(2)"
    commands = [[sys.executable, "-c", code] for code in (quick, slow)]
    assert measure.run_programs(commands, 0.005, lambda: looks.append(1)) == ["1\n", "2\n"]
    assert looks


def test_a_program_that_fails_is_an_error_that_shows_its_end():
    with pytest.raises(measure.LoadError, match="ended with 1: no such server"):
        measure.run_programs([[sys.executable, "-c", "raise SystemExit('no such server')"]], 1, lambda: None)
