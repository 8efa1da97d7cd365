"""HTTP by the book, for all nouns: problems, pages, conditional requests, headers, limits."""
