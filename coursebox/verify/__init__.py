"""Judge what was built: which tests there are, what each of them reads, and what is proved already."""
