"""What clients, upstream connections, servers and pools do in every sharing; none of which is named here."""
