class InputError(ValueError):
    """What the user gave cannot be used; the message is one line that says what and how to mend it."""
