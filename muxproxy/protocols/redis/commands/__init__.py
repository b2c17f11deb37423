"""What is known of each command, and so what has to be done about it."""
