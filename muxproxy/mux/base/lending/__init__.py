"""What a pool may have of its backend's bounds, and how it comes to have more, or less (DESIGN 3a)."""
