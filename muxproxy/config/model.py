"""What muxproxy can be told: frozen structs, every default in one place with its reason and a precedent.

Names here are the keys of the TOML files (DESIGN section 4); seconds are floats and sizes are ints of bytes
by the time they are here. `load.py` reads files into these; nobody else makes defaults up.
"""

from __future__ import annotations

import msgspec

KIB = 1024
AUTO = 0  # `workers = "auto"`, until limits.for_cpus() has made a number of it
MIB = 1024 * KIB


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table whose presence says something: to a reload it is one value, with all that is in it."""


class UpstreamTls(Whole, frozen=True, forbid_unknown_fields=True):
    """`[upstream.tls]`: it is there, so the servers are spoken to by TLS."""

    ca_file: str = ""  # whose signatures count; "": those of the system's, as for curl and Go
    # Sent (SNI) and checked; "": as it stands in `servers`. Without a name there the address is checked.
    server_name: str = ""
    cert_file: str = ""  # what we show of ourselves, and what follows it up to the CA; "": nothing
    key_file: str = ""  # "": in cert_file, too
    min_version: str = "1.2"  # RFC 8996 ended 1.0 and 1.1; nginx and HAProxy the same
    verify: bool = True
    # What the protocol is called in the handshake (RFC 7301); "": http/1.1 with http, else nothing.
    # PostgreSQL 17 wants "postgresql" of who begins by TLS, and its libpq of whom it does so to.
    alpn: str = ""


class ClientsTls(Whole, frozen=True, forbid_unknown_fields=True):
    """`[clients.tls]`: what those see that come to a listener `tls:...`."""

    cert_file: str
    key_file: str = ""  # "": in cert_file, too
    ca_file: str = ""  # who must have signed a client's certificate; "": clients show none
    ask: str = "required"  # "optional": who shows one is checked. nginx ssl_verify_client on | optional
    min_version: str = "1.2"
    alpn: str = ""


class Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[clients]`: who may connect, and what one client may cost."""

    listen: tuple[str, ...]
    # "this machine", "anyone", networks. (): this machine where a listener is not loopback, for whoever
    # listens on 0.0.0.0 seldom means the whole network. Docker's and k8s' sidecars, PostgreSQL pg_hba.conf.
    from_: tuple[str, ...] = msgspec.field(default=(), name="from")
    # To = "original": connections that the kernel leads here, by port and network, and whose: `muxproxy
    # redirect` makes nftables rules of them. (): whose rules there are is somebody else's to say, as with
    # istio-init's --ports, --uid.
    redirect: tuple[str, ...] = ()
    redirect_users: tuple[str, ...] = ()  # (): everybody's but muxproxy's own
    redirect_cgroups: tuple[str, ...] = ()  # of systemd's units, of containers: these as well
    transparent: bool = False  # IP_TRANSPARENT on the listeners, for TPROXY; Envoy's key of that name
    # HAProxy's default global maxconn is what the descriptor limit allows. So is this where 10,000 for every
    # backend do not fit: limits.effective() then lowers what nobody wrote, and refuses what somebody did.
    max_connections: int = 10_000
    # nginx keepalive_timeout 75 s, HAProxy suggests 10-60 s: an idle client costs 1 to 2 KiB, so be
    # generous.
    idle_timeout: float = 300.0
    # HAProxy `timeout http-request` 10 s in its own examples, Apache RequestReadTimeout header=20.
    head_timeout: float = 10.0
    # How long a body or a reply may make no headway; a body also no longer than that slower than min_rate, as
    # with Apache's RequestReadTimeout (body=20,MinRate=500), but of late: what came fast before buys no time.
    stall_timeout: float = 10.0
    # The same for a client that holds an upstream connection while others wait for one (P5). An app on this
    # machine that reads or writes nothing for a second is stuck, or slow beyond what its neighbours should
    # pay.
    hold_timeout: float = 1.0
    # What a client must take of large replies while it holds a shared connection (redis, dubbo) that others
    # wait for, with hold_timeout as above: no longer than that slower than hold_rate. What runs on
    # this machine takes a hundred times as much.
    hold_rate: int = 1024 * KIB  # bytes per second
    min_rate: int = 1 * KIB  # bytes per second
    # A request is held until it is whole or this much of it is in (P5). nginx client_body_buffer_size 16k,
    # proxy_buffers 8 x 8k: 64 KiB holds nearly every API call.
    request_buffer: int = 64 * KIB
    # This much of a reply is taken off the server ahead of a slow client (P5). asyncio's own high-water mark.
    response_buffer: int = 64 * KIB
    # The same where a client asks on before it reads, as pipelines of redis-py and hiredis do (they write all
    # of it first), or where the connection is shared (redis, dubbo): it costs its own memory, up to this, and
    # nobody's time. Half a million replies of 200 bytes are 100 MiB. Redis itself sets no bound to it.
    pipeline_buffer: int = 256 * MIB
    # Connections the kernel completes ahead of accept(). nginx 511, Redis 511, Go somaxconn; the kernel caps
    # it at net.core.somaxconn (4096). Lowered with max_connections where nobody wrote it.
    backlog: int = 1024
    tls: ClientsTls | None = None


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[queue]`: requests that wait for a place."""

    # Envoy max_pending_requests 1024; a waiter costs about 1 KiB and its request. With destinations:
    # EVERYWHERE.
    max_waiting: int = 1000
    # Longer than a hiccup, shorter than a caller's patience, which is its protocol's (PATIENCE): who waits
    # longer makes work that nobody waits for. HAProxy `timeout queue`, PgBouncer 120 s, linkerd 3 s.
    timeout: float = 5.0


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[upstream]`: the servers, and the promise P1."""

    servers: tuple[str, ...] = ()
    # How a request finds its servers. "servers": these, which are equal. "original": where the app meant to
    # connect. "host" (http): its target or Host. With the last two each has a destination of its own.
    to: str = "servers"
    # Names and networks that destinations may have, and never have; what is denied without a word:
    # destination.ALWAYS. Squid's http_access, Envoy's RBAC.
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    max_connections: int = 8  # every socket counts, always (P1)
    # Of max_connections, towards one destination: a dozen of them at least have a share of a hundred places.
    # Go's MaxConnsPerHost has no bound, browsers 6, Squid's and aiohttp's limit_per_host none.
    max_connections_each: int = 8
    # Those that are remembered, with pool and queue: some 10 KiB each. Envoy's dynamic forward proxy has
    # max_hosts 1024.
    max_destinations: int = 1024
    min_connections: int = 0  # kept warm; tcp: spares, besides those that have a session
    max_in_flight: int = 128  # per connection, where the protocol can have more than one
    # Of max_connections, for sessions that need one alone; default: all but one, which stays with the others.
    max_pinned: int | None = None
    # A sidecar's servers are near. Below a second, so that service is back within one after connects hung: a
    # new SYN does what the kernel's first retry, at 1 s, would do.
    connect_timeout: float = 0.7
    # A shared connection (redis, dubbo) that owes a reply and has said nothing for so long gets no new
    # requests while another one can serve them. Linux' TCP_RTO_MIN, the least that a lost packet costs: above
    # the round trip of any server that is near, below what a caller notices. A WAN of more needs more.
    suspect_after: float = 0.2
    # A connection is given up after so many tries (retransmissions, keep-alive probes) that its server's
    # machine has left unanswered in a row: this many if somebody waits for a place, else twice as many. On a
    # LAN (retransmission timeout 0.2 s) 1.4 and 12.6 s, so that a network that was down does not hold places
    # for as long again; Linux alone tries 15 times, a quarter of an hour.
    max_unanswered: int = 3
    # A connection that is silent for so long is asked by the kernel whether its peer is there: hosts that
    # died, firewalls that forgot. Go's net.Dialer 15 s; Linux' own 2 h are beyond any NAT's memory.
    keepalive: float = 15.0
    reply_timeout: float = 60.0  # silence of a server that owes us; nginx proxy_read_timeout 60 s
    idle_timeout: float = 30.0  # below servers' usual keep-alive (nginx 75 s); their own hints are obeyed
    max_lifetime: float = 3600.0  # 0: for ever. PgBouncer server_lifetime, Envoy max_connection_duration
    # A server that refused or timed out is left alone for backoff_min, doubled each time up to backoff_max,
    # each with jitter. The cap stays below a second so that service is back within a second of a server's
    # return.
    backoff_min: float = 0.05
    backoff_max: float = 0.7
    # An address that its name has not given for so long is gone. Until then connections to it that work are
    # kept: name servers that give a few of many, other ones each time, are no reason to close any. Envoy's
    # LOGICAL_DNS keeps them for good.
    name_grace: float = 300.0
    name_ttl: float = 15.0  # names are resolved again after this; PgBouncer dns_max_ttl 15 s
    # The reply to a client that has left is read to its end within these, so that the connection survives
    # (pgbouncer#1285: abandoned clients must not cost connections).
    abandoned_bytes: int = 256 * KIB
    abandoned_timeout: float = 2.0
    tls: UpstreamTls | None = None  # of a handshake the time is connect_timeout's

    @property
    def pinned_limit(self) -> int:
        return max(1, self.max_connections - 1) if self.max_pinned is None else self.max_pinned


# The default of [queue] max_waiting where requests have destinations: all that an app asks of anybody waits
# in one queue, so as many may as there may be clients; one destination that hangs has half of it. Envoy's
# 1024 are each cluster's; HAProxy's queue (maxqueue 0), Squid's and clients' own have no bound by themselves.
EVERYWHERE: int = 10_000

# protocol -> table -> key: defaults that follow the protocol's own callers. Of the usual clients' default
# timeouts the shortest is meant, and what is left of it is for the reply.
PATIENCE: dict[str, dict[str, dict[str, float]]] = {
    "http": {"queue": {"timeout": 5.0}},  # OkHttp 10 s, aiohttp 5 min, Go none
    "redis": {"queue": {"timeout": 1.0}},  # Jedis 2 s; go-redis 3 s, StackExchange.Redis 5 s
    # Dubbo `timeout` 1 s. A connect must leave time for another one, to a server that lives.
    "dubbo": {"queue": {"timeout": 0.5}, "upstream": {"connect_timeout": 0.4}},
    "tcp": {"queue": {"timeout": 5.0}},  # PyMySQL and Connector/Python 10 s
}


class RouteQueue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`queue` of a route. None: as in `[queue]`."""

    max_waiting: int | None = None
    timeout: float | None = None


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[http.routes]]`: what is otherwise for some destinations. The first whose host fits counts."""

    host: str  # a name, "*.internal" or "*", perhaps with a port
    servers: tuple[str, ...] = ()  # (): those of its name
    max_connections: int | None = None  # None: max_connections_each
    tls: bool = False  # http://... is fetched by TLS
    queue: RouteQueue = RouteQueue()


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[http]`: what only HTTP/1.1 has."""

    max_head: int = 32 * KIB  # start line and fields; nginx 4 x 8k, HAProxy 16k: 431 beyond, 502 for a server
    max_target: int = 8 * KIB  # RFC 9112 section 3 asks for 8000 at least: 414 beyond
    # Upgraded (WebSocket) connections, of max_connections; default: half, at least 1.
    max_upgraded: int | None = None
    # So long nothing has passed on an upgraded connection, either way: it is ended. WebSockets are silent for
    # minutes; HAProxy's manual has 1h for its `timeout tunnel`.
    tunnel_timeout: float = 3600.0
    # CONNECT: tunnels at a time, of max_connections; default: half, at least 1.
    max_tunnels: int | None = None
    routes: tuple[Route, ...] = ()


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[redis] batch`: holds commands back while something is in flight, never a lone one."""

    # 0: off, for what waits is already written once per turn of the loop (DESIGN section 3).
    commands: int = 0  # so many are written at once
    delay: float = 0.005  # seconds; or what there is after so long. 3 and 5 ms cured the second incident


class Redis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[redis]`. Secrets are in no repr: what is logged or asserted about a backend must not tell them."""

    username: str = ""  # of the ACL user that muxproxy is towards the servers; "": the default user
    password: str = ""  # its password; "": none is asked for
    password_file: str = ""  # where load.py takes `password` from
    client_password: str = ""  # what clients must say to AUTH (Redis's own requirepass); "": nothing
    client_password_file: str = ""
    auth: str = "configured"  # "passthrough": clients authenticate as themselves, partitioned by user
    # Lower case, "config" or "config|set". What is refused without being asked: refusals.py.
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    batch: Batch = Batch()
    fence: int = 0  # an ECHO proves the order of replies every so many commands (P2); 0: never
    # What a subscriber may be behind before it is cut. Redis client-output-buffer-limit pubsub: 8 MiB (soft).
    subscriber_buffer: int = 8 * MIB
    # What one client may listen to: names of channels and patterns, and 512 bytes for each. Some 15,000: the
    # last acknowledgement of so many at once is one turn, 2 us each (P10).
    channels_buffer: int = 8 * MIB
    # A SUBSCRIBE is held until it is whole: client libraries that reconnect name all of theirs in one.
    subscribe_buffer: int = 1 * MIB
    # What is remembered of one client: the name, user and password that it gave. Redis takes no more than
    # 16 KiB from who has not authenticated.
    session_buffer: int = 16 * KIB
    # What is remembered of users, passwords and dbs that have worked: names, and 512 bytes for each. Beyond
    # it the oldest goes, which costs its clients a look.
    states_buffer: int = 4 * MIB
    max_argument: int = 512 * MIB  # Redis proto-max-bulk-len
    max_arguments: int = 1024 * 1024  # of a command; Redis up to 6.2 the same, later INT_MAX

    def __repr__(self) -> str:
        shown = (
            f"{name}={'...' if name in SECRETS and value else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"Redis({', '.join(shown)})"


# Keys of [redis] whose values are shown nowhere.
SECRETS = ("password", "client_password")


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[dubbo.limits]]`: Dubbo's `actives`, as a queue with a deadline."""

    service: str
    actives: int  # calls in flight at a time
    method: str = ""  # "": all the service's methods together that have no limit of their own
    # How long a call waits for its turn; Dubbo waits its `timeout`, 1 s by default. [queue] timeout may
    # follow.
    timeout: float = 0.3

    @property
    def name(self) -> str:
        """For operators."""
        return f"{self.service}.{self.method or '*'}"


class Dubbo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[dubbo]`: what only Dubbo2 has."""

    heartbeat: float = 60.0  # a connection without traffic for so long is asked; Dubbo's own default; 0: off
    heartbeat_misses: int = 3  # Dubbo closes after heartbeat.timeout, 3 x heartbeat
    # A provider that said READONLY gets no calls until it was gone, or for so long if it stays, unless no
    # other can serve. Dubbo waits 10 s for what is owed (`dubbo.service.shutdown.wait`), then it ends.
    readonly_timeout: float = 30.0
    max_frame: int = 8 * MIB  # Dubbo `payload`
    limits: tuple[Limit, ...] = ()


class Tcp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tcp]`: what only raw TCP has."""

    # How a client that got no place is closed. "rst" is an error to every client library; "fin" looks like
    # an empty answer, which some protocols take for a polite one. HAProxy `tcp-request content reject` is
    # "fin", its `silent-drop` and nginx `reset_timedout_connection` are not.
    refuse: str = "rst"
    # Of max_connections, for sessions that begin as `reserve_for` says and that no other may have:
    # PostgreSQL's superuser_reserved_connections, 3.
    reserve: int = 0
    reserve_for: str = "postgres-cancel"  # a CancelRequest, which comes on a connection of its own
    session_timeout: float = 0.0  # of a whole session; 0: for ever, as HAProxy and nginx have it


class Backend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of `backends/`; `name` is the file's."""

    name: str
    protocol: str
    clients: Clients
    upstream: Upstream
    queue: Queue = Queue()
    http: Http = Http()
    redis: Redis = Redis()
    dubbo: Dubbo = Dubbo()
    tcp: Tcp = Tcp()
    # Workers that accept for it. One pool is what makes few connections enough, so more of them are for a
    # backend that is too hot for one core. HAProxy `bind ... shards`, Envoy --concurrency.
    shards: int = 1
    file: str = ""  # where it was read, for messages to operators
    # Keys of [clients] that nobody wrote and that cost descriptors: limits.effective() may lower these
    # defaults.
    flexible: tuple[str, ...] = ()
    # Where all backends and the node listen, for one whose requests have destinations: it must not go there.
    listeners: tuple[str, ...] = ()
    pseudonym: str = "muxproxy"  # in Via, of to = "host": this backend's on this machine, and nobody else's


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`muxproxy.toml`: the process as a whole. All of it may be absent."""

    # Each backend has one owner; more workers spread backends over processes. nginx worker_processes, which
    # takes "auto" as well.
    workers: int = 1
    # What one worker holds for its clients in all; beyond it, who holds most ends. Four clients that use all
    # of their pipeline_buffer, or a thousand of a mebibyte. Envoy's overload manager asks for such a number.
    memory: int = 1024 * MIB
    drain_timeout: float = 30.0  # on SIGTERM, for what is owed; systemd's TimeoutStopSec is 90 s
    admin: str = ""  # unix socket of status and metrics; "": /run/muxproxy/admin.sock for root, else per user
    # What operators do is for the owner and the group; a service manager that is neither is another group.
    admin_mode: int = 0o660
    admin_owner: str = ""  # "": who starts us
    admin_group: str = ""  # "": its own
    # Where status and metrics may be read, and nothing be changed: Prometheus scrapes no unix socket. "":
    # nowhere.
    admin_tcp: str = ""
    log_level: str = "info"
    # Whom workers run as, where root starts us; "": as root, without a capability. nginx `user` (nobody),
    # HAProxy `user` and `group` (none).
    user: str = ""
    group: str = ""  # "": the user's own
    file: str = ""  # where it was read, for messages to operators


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything, as `run` and `check` read it."""

    node: Node
    backends: tuple[Backend, ...]
