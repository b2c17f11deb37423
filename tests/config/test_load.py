"""Files an operator might write: the good ones become the model, the bad ones are told all that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.config.load import examine, load, load_node
from muxproxy.config.model import (
    Backend,
    Batch,
    Clients,
    Dubbo,
    Http,
    Limit,
    Node,
    Queue,
    Redis,
    Tcp,
    Upstream,
)
from muxproxy.errors import ConfigError
from tests.config.conftest import Write

LEAST = """
protocol = "http"
[clients]
listen = ["127.0.0.1:8080"]
[upstream]
servers = ["10.0.0.5:80"]
"""


def problems(path: Path) -> list[str]:
    """As `check` prints them, with file names instead of paths."""
    reading = examine(path)
    assert (reading.config is None) == bool(reading.problems)
    return [str(problem).replace(f"{path}/", "") for problem in reading.problems]


def test_the_shortest_file_has_every_default(write: Write) -> None:
    path = write("backends/orders-api.toml", LEAST) / "backends/orders-api.toml"
    config = load(path)
    assert config.node == Node()
    assert config.backends == (
        Backend(
            name="orders-api",
            protocol="http",
            clients=Clients(listen=("127.0.0.1:8080",)),
            upstream=Upstream(servers=("10.0.0.5:80",)),
            file=str(path),
            flexible=("max_connections", "backlog"),
        ),
    )


@pytest.mark.parametrize(
    ("protocol", "wait", "connect"),
    [("http", 5.0, 0.7), ("redis", 1.0, 0.7), ("dubbo", 0.5, 0.4), ("tcp", 5.0, 0.7)],
)
def test_defaults_follow_the_protocols_own_callers(
    write: Write, protocol: str, wait: float, connect: float
) -> None:
    text = LEAST.replace("http", protocol)
    (backend,) = load(write("backends/a.toml", text) / "backends/a.toml").backends
    assert (backend.queue.timeout, backend.upstream.connect_timeout) == (wait, connect)
    text += 'connect_timeout = "2s"\n[queue]\ntimeout = "3s"\n'
    (backend,) = load(write("backends/b.toml", text) / "backends/b.toml").backends
    assert (backend.queue.timeout, backend.upstream.connect_timeout) == (3.0, 2.0)


def test_every_key_is_read_in_its_unit(write: Write) -> None:
    write(
        "muxproxy.toml",
        'workers = 1\ndrain_timeout = "10s"\nadmin = "unix:/run/x.sock"\nadmin_mode = "0600"\n'
        'admin_tcp = "127.0.0.1:9180"\nlog_level = "debug"\n',
    )
    path = write(
        "backends/b.toml",
        """
        protocol = "http"
        [clients]
        listen = ["127.0.0.1:8080", "unix:/run/b.sock"]
        max_connections = 500
        idle_timeout = "5m"
        head_timeout = "5s"
        stall_timeout = "20s"
        min_rate = "2KiB"
        request_buffer = "128KiB"
        response_buffer = "1MiB"
        backlog = 100
        [queue]
        max_waiting = 0
        timeout = "500ms"
        [upstream]
        servers = ["10.0.0.5:80", "api.internal:80"]
        max_connections = 16
        min_connections = 2
        max_in_flight = 128
        max_pinned = 4
        connect_timeout = "100ms"
        reply_timeout = "2m"
        idle_timeout = "20s"
        max_lifetime = 0
        backoff_min = "10ms"
        backoff_max = "100ms"
        name_ttl = "30s"
        abandoned_bytes = 0
        abandoned_timeout = "1s"
        [http]
        max_head = "16KiB"
        max_target = "4KiB"
        max_upgraded = 8
        """,
    )
    config = load(path)
    assert config.node == Node(
        workers=1,
        drain_timeout=10.0,
        admin="/run/x.sock",
        admin_mode=0o600,
        admin_tcp="127.0.0.1:9180",
        log_level="debug",
        file=f"{path}/muxproxy.toml",
    )
    (backend,) = config.backends
    assert backend.clients == Clients(
        listen=("127.0.0.1:8080", "unix:/run/b.sock"),
        max_connections=500,
        idle_timeout=300.0,
        head_timeout=5.0,
        stall_timeout=20.0,
        min_rate=2048,
        request_buffer=131072,
        response_buffer=1048576,
        backlog=100,
    )
    assert backend.queue == Queue(max_waiting=0, timeout=0.5)
    assert backend.upstream == Upstream(
        servers=("10.0.0.5:80", "api.internal:80"),
        max_connections=16,
        min_connections=2,
        max_in_flight=128,
        max_pinned=4,
        connect_timeout=0.1,
        reply_timeout=120.0,
        idle_timeout=20.0,
        max_lifetime=0.0,
        backoff_min=0.01,
        backoff_max=0.1,
        name_ttl=30.0,
        abandoned_bytes=0,
        abandoned_timeout=1.0,
    )
    assert backend.http == Http(max_head=16384, max_target=4096, max_upgraded=8)
    assert backend.flexible == ()


def of(protocol: str, own: str) -> str:
    return LEAST.replace('"http"', f'"{protocol}"') + own


def test_every_key_of_redis_is_read_in_its_unit(write: Write, tmp_path: Path) -> None:
    write("secret", "hush hush \n")
    path = write(
        "backends/b.toml",
        of(
            "redis",
            f"""
            [redis]
            username = "cache"
            password = "sesame"
            client_password_file = "{tmp_path}/secret"
            auth = "configured"
            allow = ["DEBUG", "config|set"]
            deny = ["CONFIG"]
            batch = {{ commands = 3, delay = "2ms" }}
            fence = 1000
            subscriber_buffer = "1MiB"
            max_argument = "1KiB"
            max_arguments = 100
            """,
        ),
    )
    (backend,) = load(path).backends
    assert backend.redis == Redis(
        username="cache",
        password="sesame",
        client_password="hush hush ",
        client_password_file=f"{tmp_path}/secret",
        allow=("DEBUG", "config|set"),
        deny=("CONFIG",),
        batch=Batch(commands=3, delay=0.002),
        fence=1000,
        subscriber_buffer=1024**2,
        max_argument=1024,
        max_arguments=100,
    )
    assert "sesame" not in repr(backend)
    assert "hush" not in repr(backend)


def test_every_key_of_dubbo_and_tcp_is_read_in_its_unit(write: Write) -> None:
    own = """
    [dubbo]
    heartbeat = 0
    heartbeat_misses = 5
    max_frame = "16MiB"
    [[dubbo.limits]]
    service = "com.acme.Orders"
    actives = 10
    [[dubbo.limits]]
    service = "com.acme.Orders"
    method = "create"
    actives = 2
    timeout = "100ms"
    """
    path = write("backends/d.toml", of("dubbo", own))
    write(
        "backends/t.toml",
        of("tcp", '[tcp]\nrefuse = "fin"\nsession_timeout = "1h"\n').replace("8080", "8081"),
    )
    dubbo, tcp = load(path).backends
    assert dubbo.dubbo == Dubbo(
        heartbeat=0.0,
        heartbeat_misses=5,
        max_frame=16 * 1024**2,
        limits=(
            Limit(service="com.acme.Orders", actives=10),
            Limit(service="com.acme.Orders", actives=2, method="create", timeout=0.1),
        ),
    )
    assert tcp.tcp == Tcp(refuse="fin", session_timeout=3600.0)


BAD_TABLES = [
    ("redis", "batch = 3", "redis.batch = 3: a table: { commands = ..., delay = ... }"),
    ("redis", "batch = { commands = '3' }", 'redis.batch.commands = "3": a whole number from 0 to 100000'),
    ("redis", "batch = { comands = 3 }", "redis.batch.comands = 3: unknown key; did you mean commands?"),
    ("redis", "deny = 'flushall'", 'redis.deny = "flushall": a list of strings; did you mean ["flushall"]?'),
    ("redis", "deny = ['config set']", 'redis.deny = "config set": a command, such as "flushall", or with'),
    ("redis", "password_file = '/nowhere/x'", 'redis.password_file = "/nowhere/x": cannot be read: No such'),
    ("redis", "username = 'x'", 'redis.username = "x": needs password or password_file'),
    ("dubbo", "limits = 3", "dubbo.limits = 3: tables of their own: [[dubbo.limits]]"),
    ("dubbo", "limits = ['x']", 'dubbo.limits = ["x"]: tables of their own: [[dubbo.limits]]'),
    ("dubbo", "limits = [{ actives = 1 }]", "dubbo.limits[1].service: missing"),
    ("dubbo", "limits = [{ service = 'x' }]", "dubbo.limits[1].actives: missing"),
    ("dubbo", "limits = [{ service = 'x', actives = 0 }]", "dubbo.limits[1].actives = 0: a whole number"),
    ("tcp", "refuse = 'drop'", 'tcp.refuse = "drop": one of rst, fin'),
]  # a table  # fmt: skip


@pytest.mark.parametrize(("protocol", "line", "expected"), BAD_TABLES)
def test_a_bad_value_of_a_protocols_table_is_named(
    write: Write, protocol: str, line: str, expected: str
) -> None:
    (problem,) = problems(write("backends/b.toml", of(protocol, f"[{protocol}]\n{line}\n")))
    assert problem.startswith(f"backends/b.toml: {expected}")


@pytest.mark.parametrize(
    "text",
    [
        of("redis", '[redis]\npassword = ["hunter2"]\n'),
        of("redis", '[redis]\npasword = "hunter2"\n'),
        of("redis", '[redis]\npassword = "hunter2"\npassword_file = "/run/x"\n'),
        of("redis", '[redis]\npassword_file = "hunter2"\n'),
        of("redis", '[redis]\nclient_password_file = ["hunter2"]\n'),
        of("redis", '[redis]\nauth = "hunter2"\n'),
        of("redis", '[redis]\nauth = "passthrough"\npassword = "hunter2"\n'),
        of("redis", '[redis]\nbatch = { password = "hunter2" }\n'),
        of("redis", '[[redis]]\npassword = "hunter2"\n'),
        of("redis", '[rediss]\npassword = "hunter2"\n'),
        of("redis", '[[rediss]]\npassword = "hunter2"\n'),
        of("redis", 'password = "hunter2"\n'),
        of("http", '[redis]\npassword = "hunter2"\n'),
        'password = "hunter2"' + LEAST,
        of("redis", '[redis]\npassword = "hunter2\n'),
        of("redis", '[redis]\npassword = "hunter2" x\n'),
        of("redis", "[redis]\npassword = hunter2\n"),
    ],
)
def test_a_password_is_in_no_message(write: Write, text: str) -> None:
    told = problems(write("backends/b.toml", text))
    assert told
    assert "hunter2" not in "".join(told)


def test_a_secret_in_the_nodes_file_is_in_no_message(write: Write) -> None:
    write("muxproxy.toml", '[redis]\npassword = "hunter2"\n')
    (problem,) = problems(write("backends/b.toml", LEAST))
    assert problem.startswith('muxproxy.toml: redis = {"password": "..."}: unknown key here')


def test_backends_come_in_the_order_of_their_names(write: Write) -> None:
    for number, name in enumerate(["zeta", "alpha", "mid"]):
        path = write(f"backends/{name}.toml", LEAST.replace("8080", str(8080 + number)))
    write("muxproxy.toml", "")
    assert [backend.name for backend in load(path).backends] == ["alpha", "mid", "zeta"]


BAD_VALUES = [
    ("listen = []", 'clients.listen = []: a list of at least one string'),
    ('listen = "127.0.0.1:1"', 'clients.listen = "127.0.0.1:1": a list of at least one string; did you mean'),
    ("listen = [8080]", "clients.listen = 8080: a string in quotes"),
    ('listen = ["localhost:1"]', 'clients.listen = "localhost:1": an IP address, not a name'),
    ("max_connections = 0", "clients.max_connections = 0: a whole number from 1 to 1000000"),
    ('max_connections = "8"', 'clients.max_connections = "8": a whole number from 1 to 1000000, without'),
    ("max_connections = true", "clients.max_connections = true: a whole number"),
    ("max_connections = 8.0", "clients.max_connections = 8.0: a whole number"),
    ("idle_timeout = 5", 'clients.idle_timeout = 5: a duration is a number and a unit'),
    ('idle_timeout = "0"', 'clients.idle_timeout = "0": from 1ms to 7d'),
    ('request_buffer = "64KB"', 'clients.request_buffer = "64KB": a size is'),
    ("idle_timeout = 2001-01-01", 'clients.idle_timeout = "2001-01-01": a duration'),
    ("idle_timeuot = 5", "clients.idle_timeuot = 5: unknown key; did you mean idle_timeout?"),
    ("servers = []", "clients.servers = []: unknown key here; it belongs to [upstream]"),
    ("qwertz = 1", "clients.qwertz = 1: unknown key; known here: listen, max_connections"),
]  # a table  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), BAD_VALUES)
def test_a_bad_value_is_named_with_file_key_value_and_rule(write: Write, line: str, expected: str) -> None:
    listen = "" if line.startswith("listen") else 'listen = ["127.0.0.1:1"]'
    text = f'protocol = "http"\n[clients]\n{listen}\n{line}\n[upstream]\nservers = ["10.0.0.5:80"]\n'
    (problem,) = problems(write("backends/b.toml", text))
    assert problem.startswith(f"backends/b.toml: {expected}")


BAD_FILES = [
    ("nonsense", "not TOML: "),
    ("a = 1\na = 2\n", "(at line 2, column 6)"),
    (b'# \n# caf\xe9\nprotocol = "http"', "not TOML: not UTF-8 (at line 2)"),
    (LEAST.replace('protocol = "http"', ""), "protocol: missing; write at the top: protocol = "),
    (LEAST.replace("http", "https"), 'protocol = "https": one of http, redis, dubbo, tcp'),
    (LEAST.replace('"http"', "['http']"), 'protocol = ["http"]: one of http'),
    (LEAST.replace("servers = ", "#"), "upstream.servers: missing; write in [upstream]: servers = ["),
    ("clients = 5" + LEAST.replace("[clients]\nlisten", "# listen"), "clients = 5: a table: [clients]"),
    (LEAST + "[redis]\nbatch = {}\n", '[redis] belongs to protocol = "redis", this backend\'s is "http"'),
    (LEAST + "[qeue]\n", "qeue: unknown table; did you mean queue?"),
    ("protocl = 'x'" + LEAST, 'protocl = "x": unknown key; did you mean protocol?'),
    ("workers = 2" + LEAST, "workers = 2: unknown key here; it belongs to muxproxy.toml"),
    (LEAST + "shards = 2\n", "upstream.shards = 2: unknown key here; it belongs to the top of the file"),
    ("shards = 65" + LEAST, "shards = 65: a whole number from 1 to 64"),
    ("shards = 9" + LEAST, "shards = 9: at most upstream.max_connections, 8"),
    (LEAST + "workers = 2\n", "upstream.workers = 2: unknown key here; it belongs to muxproxy.toml"),
    (LEAST.replace('["10.0.0.5:80"]', '"10.0.0.5:80"'), 'one string; did you mean ["10.0.0.5:80"]?'),
    (LEAST.replace('["10.0.0.5:80"]', '"http://x:80"'), "unix:/run/app.sock; without the scheme"),
    ("timeout = '2s'" + LEAST, 'timeout = "2s": unknown key here; it belongs to [queue]'),
    (LEAST + "min_connections = 9", "upstream.min_connections = 9: at most upstream.max_connections, 8"),
    (LEAST + "[http]\nmax_upgraded = 9", "http.max_upgraded = 9: at most upstream.max_connections, 8"),
]  # a table  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD_FILES)
def test_a_bad_file_has_one_problem_that_says_what_to_change(
    write: Write, text: str | bytes, expected: str
) -> None:
    (problem,) = problems(write("backends/b.toml", text))
    assert problem.startswith("backends/b.toml: ")
    assert expected in problem


def test_every_error_of_every_file_is_told_at_once(write: Write) -> None:
    write("muxproxy.toml", 'workers = 0\nlog_levl = "info"\n[clients]\n')
    write("backends/a.toml", "nonsense")
    write("backends/b c.toml", LEAST)
    write("backends/d.toml", LEAST + 'max_connections = "8"\nmin_connections = 9\n[queue]\ntimeout = 5\n')
    path = write("backends/e.toml", LEAST.replace("10.0.0.5:80", "127.0.0.1:8080"))
    heads = [problem.split(": ")[:2] for problem in problems(path)]
    assert heads == [
        ["muxproxy.toml", "workers = 0"],
        ["muxproxy.toml", 'log_levl = "info"'],
        ["muxproxy.toml", "clients = {}"],
        ["backends/a.toml", "not TOML"],
        ["backends/b c.toml", "the file's name is the backend's"],
        ["backends/d.toml", "queue.timeout = 5"],
        ["backends/d.toml", 'upstream.max_connections = "8"'],  # and nothing about min_connections beside it
        ["backends/e.toml", 'upstream.servers = "127.0.0.1:8080"'],
        ["backends/d.toml", 'clients.listen = "127.0.0.1:8080"'],
        ["backends/e.toml", 'clients.listen = "127.0.0.1:8080"'],
    ]


def test_load_raises_all_problems_as_one_error(write: Write) -> None:
    path = write("backends/b.toml", LEAST + "x = 1\ny = 2\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [problem.key for problem in caught.value.problems] == ["upstream.x", "upstream.y"]
    assert len(str(caught.value).splitlines()) == 2


def test_a_long_value_is_shown_shortened(write: Write) -> None:
    path = write("backends/b.toml", LEAST + f'max_lifetime = "{"x" * 500}"\n')
    (problem,) = examine(path).problems
    assert problem.value == '"' + "x" * 56 + "..."


def test_a_path_without_backends_says_what_is_missing(write: Write, tmp_path: Path) -> None:
    assert "no backends: there is no backends/*.toml" in problems(tmp_path)[0]
    assert problems(tmp_path / "absent") == [f"{tmp_path}/absent: no such file or directory"]
    write("muxproxy.toml", "")
    assert f"give its directory, {tmp_path}" in problems(tmp_path / "muxproxy.toml")[0]
    write("b.conf", LEAST)
    assert "a backend's file is named NAME.toml" in problems(tmp_path / "b.conf")[0]


def test_a_backend_that_cannot_be_read_is_a_problem(write: Write, tmp_path: Path) -> None:
    (tmp_path / "backends/b.toml").mkdir(parents=True)
    assert problems(tmp_path) == ["backends/b.toml: cannot be read: Is a directory"]


def test_a_path_that_cannot_be_looked_at_is_a_problem_and_no_bug(tmp_path: Path) -> None:
    """As a directory of somebody else's would be; root may look into all of those."""
    (problem,) = problems(tmp_path / ("x" * 300))
    assert problem.endswith(("cannot be read: File name too long", "no such file or directory"))


def test_the_mark_that_windows_editors_put_first_is_no_error(write: Write) -> None:
    assert problems(write("backends/b.toml", b"\xef\xbb\xbf" + LEAST.lstrip().encode())) == []


def test_a_backends_key_in_the_nodes_file_is_sent_home(write: Write) -> None:
    write("muxproxy.toml", "max_connections = 8\n")
    (problem,) = problems(write("backends/b.toml", LEAST))
    assert problem == "muxproxy.toml: max_connections = 8: unknown key here; it belongs to a backend's file"


def test_files_that_look_meant_and_are_not_read_give_a_warning(write: Write) -> None:
    for name in ("backends/a.toml", "orders.toml", "backends/c.tml", "backends/a.toml~", "backends/.a.swp"):
        path = write(name, LEAST)
    reading = examine(path)
    assert reading.config is not None
    assert [w.file.removeprefix(f"{path}/") for w in reading.warnings] == ["backends/c.tml", "orders.toml"]


def test_the_nodes_file_is_read_while_a_backends_is_broken(write: Write) -> None:
    write("backends/b.toml", "nonsense")
    path = write("muxproxy.toml", 'admin = "/run/x.sock"\n')
    assert load_node(path).admin == "/run/x.sock"
    assert load_node(path / "backends/b.toml") == Node()
    write("muxproxy.toml", "admin = 5\n")
    with pytest.raises(ConfigError, match="admin = 5: a string in quotes"):
        load_node(path)


SECRETS_IN_WRONG_PLACES = [
    ("upstream", 'servers = ["redis://:hush@cache:6379"]'),
    ("upstream", 'servers = ["redis://user:hush@cache:6379", "user:hush@cache:6379"]'),
    ("upstream", 'servers = "redis://:hush@cache:6379"'),
    ("upstream", 'servers = ["unix:run/x.sock?password=hush"]'),
    ("upstream", 'servers = ["redis://cache/0?auth=hush"]'),
    ("clients", 'listen = ["redis://:hush@127.0.0.1:6379"]'),
    ("redis", 'username = "cache hush"'),
    ("redis", 'username = "cache:hush"'),
    ("redis", 'username = ["cache", "hush"]'),
    ("redis", 'credentials = "hush"'),
    ("redis", 'key = "hush"'),
    ("redis", 'my_own_word = ["hush"]'),
    ("redis", 'my_own_word = { x = ["hush"] }'),
    ("", 'my_own_word = "hush"'),
    ("redis", 'deny = ["AUTH hush@x"]'),
]


@pytest.mark.parametrize(("table", "line"), SECRETS_IN_WRONG_PLACES)
def test_a_secret_that_is_written_where_none_belongs_is_in_no_message(
    write: Write, table: str, line: str
) -> None:
    lines = {"clients": 'listen = ["127.0.0.1:6380"]', "upstream": 'servers = ["cache:6379"]', "redis": ""}
    lines = {name: line if name == table else kept for name, kept in lines.items()}
    text = "".join(f"[{name}]\n{kept}\n" for name, kept in lines.items())
    top = line if not table else ""
    reading = examine(write("backends/a.toml", f'protocol = "redis"\n{top}\n{text}'))
    assert reading.problems
    assert "hush" not in "\n".join(map(str, [*reading.problems, *reading.warnings]))
