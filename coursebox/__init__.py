"""Build a deep-learning course in a box: one course description in, a sealed course machine out."""

__version__ = "0.1.0"
