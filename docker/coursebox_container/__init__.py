"""The start of the container: it prepares user, home and server. Then the command takes its place."""
