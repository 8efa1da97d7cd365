"""Who asks, and what they may: users, passwords, tokens with scopes."""
