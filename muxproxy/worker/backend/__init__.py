"""One backend in a worker: its pool and its listeners, and who resolves the names of its servers."""
