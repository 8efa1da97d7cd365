"""A portfolio is what an account owns: its positions and their value."""
