"""The first incident: a task dispatcher whose coroutines have a pool of connections each."""
