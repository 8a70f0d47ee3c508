"""Proposals for many image files, computed in parallel."""

import os
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from proposals.cache import ProposalCache
from proposals.parallel import in_order
from proposals.types import Proposals, Proposer


@dataclass(frozen=True)
class FileProposals:
    """The result for one image file.

    Attributes:
        path: the path passed in.
        proposals: None if the file was skipped.
        error: why the file was skipped, in one line.
        seconds: time of the proposer alone; 0 if the result came from the cache.
    """

    path: Path
    proposals: Proposals | None
    error: str | None = None
    seconds: float = 0.0


def propose_files(
    files: Iterable[str | os.PathLike[str]],
    proposer: Proposer,
    read_image: Callable[[bytes], np.ndarray],
    *,
    workers: int = 1,
    cache: str | os.PathLike[str] | None = None,
) -> Generator[FileProposals, None, None]:
    """Yields the proposals of image files in input order.

    A file that is missing, unreadable or not an image yields an `error` in place of proposals; the rest continue.

    Args:
        files: paths of the image files, consumed only a few ahead of the results.
        read_image: decodes a file's bytes to an upright image, (H, W, 3) uint8 RGB.
        workers: images processed at the same time, each by a thread.
        cache: folder of a `ProposalCache`; files finished by an earlier run are only read.

    Raises:
        ValueError: `files` is a single path.
        OSError: the cache folder cannot be written.
    """
    if isinstance(files, (str, os.PathLike)):
        raise ValueError(f"files must be a list of paths, not the one path {os.fspath(files)!r}")
    store = None if cache is None else ProposalCache(cache, proposer)

    def work(path: Path) -> FileProposals:
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            return FileProposals(path, None, getattr(error, "strerror", None) or _one_line(error))
        seconds = 0.0

        def propose() -> Proposals:
            nonlocal seconds
            try:
                image = read_image(content)
            except Exception as error:  # decoders may raise anything, including OSError
                raise ValueError(_one_line(error)) from error
            start = time.perf_counter()
            try:
                return proposer(image)
            except (MemoryError, cv2.error) as error:  # OpenCV reports a lack of memory as cv2.error
                raise ValueError(_one_line(error)) from error
            finally:
                seconds = time.perf_counter() - start

        try:
            proposals = propose() if store is None else store.get(content, propose)
        except ValueError as error:
            return FileProposals(path, None, _one_line(error))
        return FileProposals(path, proposals, None, seconds)

    return in_order(work, map(Path, files), workers, ahead=3 * workers)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
