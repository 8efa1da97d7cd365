"""Orders are placed once, amended by version, matched in other processes, and told to others by an outbox."""
