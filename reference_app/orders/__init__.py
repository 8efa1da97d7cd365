"""Orders: placed once, amended by version, matched by processes of their own, told to others by an outbox."""
