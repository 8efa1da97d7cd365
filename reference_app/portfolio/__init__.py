"""What an account owns: positions and their value."""
