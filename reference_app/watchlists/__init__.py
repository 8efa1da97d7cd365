"""Watchlists are a user's lists of instruments; they show PUT, PATCH and DELETE by the book."""
