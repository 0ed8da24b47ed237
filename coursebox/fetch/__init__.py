"""Lock files → verified files in the cache."""
