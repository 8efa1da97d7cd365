"""The real prices the desk is fed with, and their loader."""
