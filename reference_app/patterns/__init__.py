"""Patterns to copy: one file an idea, each stands alone."""
