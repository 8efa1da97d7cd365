"""Alembic migrations of the reference app."""
