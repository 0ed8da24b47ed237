"""The ground that every room stands on: errors, console, paths, digests, programs, stages. It imports no other room."""
