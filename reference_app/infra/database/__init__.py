"""The database and Redis: engine, sessions, schema, and what must be true of them at the start."""
