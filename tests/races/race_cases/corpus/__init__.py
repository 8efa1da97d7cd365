"""Wrong and right fixes, each with its truth and the reason, written before anything was explored."""
