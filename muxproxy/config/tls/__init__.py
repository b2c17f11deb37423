"""`[upstream.tls]` and `[clients.tls]`: the files that they name, and until when what is in them is good."""
