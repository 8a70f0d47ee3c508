"""Proposals for many image files, on all cores."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

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
        seconds: time of the proposer, and of writing the cache; 0 if the result came from the cache.
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
        processes: workers are processes, for a proposer that holds Python's lock; ours lets it go, and threads do.
        cache: folder of a `ProposalCache`; run again, the files done before cost only reading.

    A file that is missing, unreadable or no image gives an `error` instead of proposals, and the others go on.

    Raises:
        OSError: the cache folder cannot be written.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    work = _Work(proposer, read_image, None if cache is None else ProposalCache(cache, proposer))
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
        start = None

        def decode() -> np.ndarray:
            nonlocal start
            try:
                image = self.read_image(content)
            except Exception as error:  # a decoder may raise anything, OSError too
                raise ValueError(_one_line(error)) from error
            start = time.perf_counter()
            return image

        try:
            proposals = self.proposer(decode()) if self.cache is None else self.cache.get(content, decode)
        except (ValueError, MemoryError) as error:
            return FileProposals(path, None, _one_line(error))
        return FileProposals(path, proposals, None, 0.0 if start is None else time.perf_counter() - start)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
