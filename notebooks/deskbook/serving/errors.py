"""What goes wrong with a served app."""


class ServingError(Exception):
    """The server did not start, or ended by itself. The message says what to do, with the end of its log."""
