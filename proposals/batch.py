"""Proposals for many image files, on all cores."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from proposals.cache import ProposalCache
from proposals.types import Proposals, Proposer

# Images taken up ahead of the one that is handed out, for each worker: keeps all busy, and the memory bounded.
_AHEAD = 4


@dataclass(frozen=True)
class FileProposals:
    """What became of one image file.

    Attributes:
        path: the file, as it was given.
        proposals: None if the file had to be skipped.
        error: why it was skipped, in one line.
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
    """The proposals of image files, in their order, each as soon as it and those before it are done.

    Args:
        files: paths of the image files; taken up only a few ahead.
        read_image: decodes a file's bytes to the upright image, (H, W, 3) uint8 RGB. With `processes` a function of a
            module.
        workers: images worked on at the same time.
        processes: workers are processes, for a proposer that holds Python's lock; ours lets it go, and threads do. The
            program then needs its `if __name__ == "__main__":`.
        cache: folder of a `ProposalCache`; run again, the files done before cost only reading.

    A file that is missing, unreadable or no image gives an `error` instead of proposals, and the others go on.

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
    return _run(files, work, workers, processes)


def _run(
    files: Iterable[str | os.PathLike[str]], work: "_Work", workers: int, processes: bool
) -> Iterator[FileProposals]:
    spawn = get_context("spawn")
    pool: Executor = ProcessPoolExecutor(workers, spawn) if processes else ThreadPoolExecutor(workers)
    waiting: deque[Future[FileProposals]] = deque()
    with pool:
        try:
            for file in files:
                waiting.append(pool.submit(work, Path(file)))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@dataclass(frozen=True)
class _Work:
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
            except Exception as error:  # a decoder may raise anything, OSError too
                raise ValueError(_one_line(error)) from error
            start = time.perf_counter()
            try:
                proposals = self.proposer(image)
            except (MemoryError, cv2.error) as error:  # OpenCV's word for a lack of memory too
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
