"""What goes wrong with a load run."""


class LoadError(Exception):
    """The load could not be run, or nothing answered it. The message says what to do."""
