"""Who may enter, who is next, who has waited too long, and who goes when too much is held. Knows no pool."""
