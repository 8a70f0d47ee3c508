"""Pointers: the few lines of text that Git LFS leaves in place of a file until that is fetched."""

NOT_FETCHED = "is a Git LFS pointer in place of the file, which was not fetched; run `git lfs pull` in its repository"
_START = b"version https://git-lfs.github.com/spec/"
START_BYTES = len(_START)


def is_pointer(content: bytes) -> bool:
    """Whether a file that starts with these bytes, at least `START_BYTES` of them, is a pointer."""
    return content.startswith(_START)
