"""What a course asks for → the lock files: exact versions and digests."""
