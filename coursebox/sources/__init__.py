"""Locks and mirrors → verified files in the cache."""
