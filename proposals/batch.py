"""Proposals for many image files, computed in parallel."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from proposals.cache import ProposalCache
from proposals.types import Proposals, Proposer

# Items submitted per worker before the oldest result is awaited: enough to keep all workers busy in bounded memory.
_PREFETCH = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


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
    processes: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Iterator[FileProposals]:
    """Yields the proposals of image files in input order.

    A file that is missing, unreadable or not an image yields an `error` in place of proposals; the rest continue.

    Args:
        files: paths of the image files, consumed only a few ahead of the results.
        read_image: decodes a file's bytes to an upright image, (H, W, 3) uint8 RGB; picklable if `processes` is set.
        workers: images processed at the same time.
        processes: use processes instead of threads, for proposers that hold the GIL (Selective Search releases it).
            The main program then needs an `if __name__ == "__main__":` guard.
        cache: folder of a `ProposalCache`; files finished by an earlier run are only read.

    Raises:
        ValueError: `workers` is below 1, or `files` is a single path.
        OSError: the cache folder cannot be written.
        BrokenExecutor: a worker process died.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if isinstance(files, (str, os.PathLike)):
        raise ValueError(f"files must be a list of paths, not the one path {os.fspath(files)!r}")
    work = _Work(proposer, read_image, None if cache is None else ProposalCache(cache, proposer))
    return map_ordered(work, map(Path, files), workers, processes)


def map_ordered(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, processes: bool = False
) -> Iterator[_Result]:
    """Yields `function(item)` in input order, computed by a pool of threads or spawned processes.

    Items are consumed only a few ahead of the results. Closing the iterator, or an error in `function`, cancels the
    items that have not started.
    """
    spawn = get_context("spawn")
    pool: Executor = ProcessPoolExecutor(workers, spawn) if processes else ThreadPoolExecutor(workers)
    pending: deque[Future[_Result]] = deque()
    with pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= _PREFETCH * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@dataclass(frozen=True)
class _Work:
    """Reads, decodes and processes one file; picklable."""

    proposer: Proposer
    read_image: Callable[[bytes], np.ndarray]
    cache: ProposalCache | None

    def __call__(self, path: Path) -> FileProposals:
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            return FileProposals(path, None, getattr(error, "strerror", None) or _one_line(error))
        seconds = 0.0

        def propose() -> Proposals:
            nonlocal seconds
            try:
                image = self.read_image(content)
            except Exception as error:  # decoders may raise anything, including OSError
                raise ValueError(_one_line(error)) from error
            start = time.perf_counter()
            try:
                proposals = self.proposer(image)
            except (MemoryError, cv2.error) as error:  # OpenCV reports a lack of memory as cv2.error
                raise ValueError(_one_line(error)) from error
            seconds = time.perf_counter() - start
            return proposals

        try:
            proposals = propose() if self.cache is None else self.cache.get(content, propose)
        except ValueError as error:
            return FileProposals(path, None, _one_line(error))
        return FileProposals(path, proposals, None, seconds)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
