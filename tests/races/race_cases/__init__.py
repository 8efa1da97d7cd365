"""What the explorer is tried on: the corpus, whose truths were written down unexplored, and the canaries."""
