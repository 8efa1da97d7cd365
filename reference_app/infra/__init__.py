"""What every noun needs, in four rooms: `http`, `database`, `process` and `watch`."""
