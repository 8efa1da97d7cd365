"""A user's lists of instruments: PUT, PATCH and DELETE by the book."""
