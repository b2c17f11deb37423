"""TLS between a transport and the hands of a connection: what the heart sees is a wire as any other.

Records are OpenSSL's, through memory (ssl.MemoryBIO), and the socket stays uvloop's plain transport: what is
asked of the kernel (who has left, what is unsent, who is heard) is asked of the real socket, both directions
end by themselves, and what has come is read before the end is told. uvloop's own `ssl=` has none of these.
"""
