"""Git LFS pointers: the few lines of text that stand in for a file until Git LFS fetches it."""

NOT_FETCHED = "is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"
_START = b"version https://git-lfs.github.com/spec/"
START_BYTES = len(_START)
"""How much of a file `is_pointer` needs."""


def is_pointer(content: bytes) -> bool:
    """Whether a file that starts with `content` (at least `START_BYTES`) is a pointer."""
    return content.startswith(_START)
