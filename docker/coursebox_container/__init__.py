"""What runs around the container: it prepares user, home and server, and then gets out of the way."""
