"""What clients listen to: all channels over one connection."""
