"""How perf's samples are read, and how CPU is shared out among them."""

from __future__ import annotations

import pytest

from tests.bench import floor, report
from tests.bench.floor import Floor, Frame, Profile
from tests.bench.measure import Figures, Load

# As `perf script -F ip,sym,dso` of perf 6.1 writes it, on Linux 6.18.
SCRIPT = """
\tffffffff821f9b4a _raw_spin_unlock_irqrestore+0xa ([kernel.kallsyms])
\tffffffff81d6f3e0 tcp_sendmsg ([kernel.kallsyms])
\tffffffff816b92b8 vfs_write ([kernel.kallsyms])
\tffffffff816b9856 ksys_write ([kernel.kallsyms])
\tffffffff821ed511 do_syscall_64 ([kernel.kallsyms])
\tffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
\t           f8350 __GI___libc_write (/usr/lib/x86_64-linux-gnu/libc.so.6)


\tffffffff81700c11 ep_poll ([kernel.kallsyms])
\tffffffff81700e2f do_epoll_wait ([kernel.kallsyms])
\tffffffff81701c2b __x64_sys_epoll_wait ([kernel.kallsyms])
\tffffffff81006a21 x64_sys_call ([kernel.kallsyms])
\tffffffff821ed511 do_syscall_64 ([kernel.kallsyms])
\tffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])

\tffffffff821ed4e6 do_syscall_64 ([kernel.kallsyms])
\tffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])

\tffffffff821f0a4f exc_page_fault ([kernel.kallsyms])
\tffffffff81000b76 asm_exc_page_fault ([kernel.kallsyms])
\t          1a2b3c _PyObject_Malloc (/opt/python/lib/libpython3.11.so.1.0)

\t          1621a0 _PyEval_EvalFrameDefault (/opt/python/lib/libpython3.11.so.1.0)
\t               0 [unknown] ([unknown])

\t            8e5b __vdso_gettimeofday ([vdso])
"""


def test_samples_are_told_apart_by_where_they_were_taken():
    profile = floor.summarize(floor.parse_stacks(SCRIPT.splitlines()), "python3.11")
    assert profile.samples == 6
    assert profile.kernel == {"write": 1, "epoll_wait": 1, "entry, interrupts": 1, "page faults": 1}
    assert profile.objects == {"Python": 1, "other": 1}
    assert profile.functions[Frame("_PyEval_EvalFrameDefault", "libpython3.11.so.1.0")] == 1


def test_a_symbol_is_the_same_wherever_in_it_the_sample_is():
    (stack,) = floor.parse_stacks(["\t ffff _raw_spin_lock+0x1b ([kernel.kallsyms])"])
    assert stack == [Frame("_raw_spin_lock", "[kernel.kallsyms]")]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/sbin/haproxy", "own code"),
        ("/opt/python/lib/libpython3.11.so.1.0", "Python"),
        ("/usr/bin/python3.12", "Python"),
        ("/home/me/muxproxy/.venv/lib/python3.11/site-packages/uvloop/loop.cpython-311.so", "uvloop"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "libc"),
        ("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "libc"),
        ("/v/site-packages/muxproxy/mux/pool.cpython-311-x86_64-linux-gnu.so", "own code"),
        ("/v/site-packages/3f2a__mypyc.cpython-311-x86_64-linux-gnu.so", "own code"),
        ("/home/me/muxproxy/muxproxy/protocols/http/requests.cpython-311-x86_64-linux-gnu.so", "own code"),
        ("/home/me/muxproxy/.venv/lib/python3.11/site-packages/msgspec/_core.cpython-311.so", "other"),
        ("/home/me/muxproxy/python/lib/python3.11/lib-dynload/_socket.cpython-311.so", "other"),
        ("[vdso]", "other"),
    ],
)
def test_a_file_is_known_by_its_path(path, kind):
    assert floor.kind_of(path, "haproxy") == kind


def test_counts_are_read_and_what_could_not_be_counted_is_left_out():
    text = (
        "2952;;syscalls:sys_enter_read;154724429;100.00;;\n<not counted>;;syscalls:sys_enter_write;0;0.00;;\n"
        "0;;syscalls:sys_enter_close;154724429;100.00;;\n"
    )
    assert floor.parse_counts(text) == {"read": 2952, "close": 0}


def test_where_the_trace_points_cannot_be_seen_nothing_is_counted(monkeypatch, tmp_path):
    (tmp_path / "sys_enter_read").mkdir()
    monkeypatch.setattr(floor, "TRACE_POINTS", tmp_path)
    assert floor.countable(["read", "page faults", "read"]) == ["read"]
    monkeypatch.setattr(floor, "TRACE_POINTS", tmp_path / "missing")
    assert floor.countable(["read"]) == []


def made(name: str, profile: Profile, kernel_share: float = 0.5) -> Floor:
    figures = Figures(1_000_000, 10.0, 1.0, 1.0, 0, 20.0, 1)
    return Floor(report.Row(Load("64", "64 clients", 64), name, [figures]), profile, kernel_share)


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_cpu_is_shared_out_by_samples():
    profile = floor.summarize(floor.parse_stacks(SCRIPT.splitlines()), "python3.11")
    found = made("muxproxy", profile)
    found.calls = {"write": 1.02, "futex": 0.1, "socket": 0.001}
    text = floor.tables("command", [found])
    table = rows(text)
    assert table[2] == [
        "64 clients", "muxproxy", "20.00", "13.33", "6.67", "0.00", "3.33", "0.00", "0.00", "3.33", "6",
    ]  # a table  # fmt: skip
    assert ["write", "", "3.33", "1.02"] in table
    assert ["futex", "", "0.00", "0.10"] in table
    assert ["all", "", "13.33", "1.12"] in table
    assert ["muxproxy", "__vdso_gettimeofday", "3.33", "50.0%", "[vdso]"] in table


def test_where_perf_sees_no_kernel_its_share_is_that_of_proc_and_that_is_said():
    stacks = [[Frame("f", "/usr/sbin/haproxy")]]
    text = floor.tables("command", [made("haproxy", floor.summarize(stacks, "haproxy"), 0.75)])
    assert rows(text)[2][2:6] == ["20.00", "15.00", "5.00", "5.00"]
    assert "may not see the kernel" in text


def test_where_perf_sees_nothing_the_split_alone_is_told():
    text = floor.tables("command", [made("haproxy", Profile(), 0.75)])
    assert rows(text)[2][2:6] == ["20.00", "15.00", "5.00", "-"]
    assert "may see nothing" in text


def test_who_failed_is_told():
    failed = made("haproxy", Profile())
    failed.row.failed = "it refused"
    assert floor.tables("command", [failed]) == "64 clients, haproxy: it refused"
