"""What can go wrong."""

FAULTS = (ValueError, OSError, RuntimeError, MemoryError)
"""What is wrong with one photo and leaves the others alone; torch has RuntimeError for a lack of memory."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line that says what and how to mend it."""
