"""What a run came to and how it is told: its outcome, its timeline, its picture, the report of a search."""
