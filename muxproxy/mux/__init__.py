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
    P4  nobody waits beside a free place (one that rests is none: server.py); waiting is FIFO, idle
        connections are reused LIFO
    P5  no shared upstream connection is held for a slow client
    P6  bytes in = bytes out, save what the protocol obliges a proxy to change
    P7  every buffer, queue and wait has a bound, and the bound has a name
    P8  refusals are early, cheap and in the client's own language
    P9  a retry only of what was not written; or idempotent, on a reused connection, with no reply byte seen,
        and then once, on a connection dialled after that loss: nothing runs more than twice
    P10 nobody's work stands in everybody's way: so much for one connection and turn of the loop

Files: exchange (one request and its reply) · client, replying, patience, ordered, tagged, feed, dedicated ·
upstream, turn, gather, avoided, shared, tag, session (ledgers), heartbeat · server · pool, accounts, alone,
shared_pool, dedicated_pool, limited, limits, pools (who gets what) · queue, gate · deadlines · work (P10) ·
statistics, failures, offenders · ports (what the heart asks of the world).
"""
