"""The search in process: an event loop under control, and what else must not move by itself in a run."""
