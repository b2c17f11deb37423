"""What operators ask and have done: connections.py carries it, pages.py reads it, commands.py does it."""
