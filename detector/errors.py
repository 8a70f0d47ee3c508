"""Errors."""

FAULTS = (ValueError, OSError, RuntimeError, MemoryError)
"""Exceptions that fail one photo but not the run; PyTorch raises RuntimeError when memory runs out."""


class InputError(ValueError):
    """Invalid input; the one-line message names the problem and the remedy."""
