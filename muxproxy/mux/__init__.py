"""The heart: who waits, who goes, who gets which reply. No socket, no loop, no clock; time is an argument.

    client ──frames──▶ Client ──Exchange──▶ Pool ──────▶ Upstream ──bytes──▶ server
                       what we owe          gate, queue,  what it owes us:
    client ◀──bytes─── it, in order  ◀───── assign  ◀──── by turn, by order, by tag

Two ledgers hold every exchange: its client's (replies leave in the client's order) and its upstream's
(replies come in the server's order, or by tag). A place that comes free goes straight to the oldest who
waits.

The promises, cited by number wherever code or a test keeps one:

    P1  sockets towards a backend never exceed max_connections, from before connect() until after close()
    P2  nobody gets another's reply; what is in doubt is closed
    P3  every exchange ends exactly once, in one counted outcome
    P4  nobody waits beside a free place (one that rests is none: base/server.py); waiting is FIFO, idle
        connections are reused LIFO
    P5  no shared upstream connection is held for a slow client
    P6  bytes in = bytes out, save what the protocol obliges a proxy to change
    P7  every buffer, queue and wait has a bound, and the bound has a name
    P8  refusals are early, cheap and in the client's own language
    P9  a retry only of what was not written; or idempotent, on a reused connection, with no reply byte seen,
        and then once, on a connection dialled after that loss: nothing runs more than twice
    P10 nobody's work stands in everybody's way: so much for one connection and turn of the loop

How requests may share a connection (contract.Sharing) decides where to look. The same question has the same
door in each folder: client.py, what its client is owed; upstream.py, its ledger, where a reply is matched;
pool.py, who gets which connection, and who waits. From the ground up, and imports go only this way:

    exchange   one request and its reply; who it is between     ports      what the heart asks of the world
    deadlines  one wheel of time                                work       so much in one turn (P10)
    admission/ gate, queue: who may enter, and who is next      memory: who must go when too much is held
               offenders: who has held up others
    base/      what all sharings do: client (replying, patience, backlog) · upstream · server
               pool (accounts, refusing, changing, allowance, lookout) · statistics, failures
    exclusive/ one exchange at a time on a connection, which may become a tunnel (HTTP/1.1)
    dedicated/ a connection for each session, spares, reserved places (TCP)
    shared/    many in flight: what gathers and is written once a turn, who is avoided, who needs one alone
    ordered/   many, their replies in order; what many clients listen to (Redis)
    tagged/    many, their replies by id; heartbeats, limits (Dubbo)
    sharings   the table: which pool, client and upstream play which sharing
"""
