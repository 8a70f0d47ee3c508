"""Many photos through a detector, several at once.

Threads on the CPU read the photos and propose regions ahead of the networks, which see a batch in one pass in the
caller's thread; threads make detections of the scores while the next batch is seen. On a GPU neither waits long for the
other.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from detector.errors import FAULTS
from detector.inference.detector import Detector, Prepared
from detector.inference.parallel import in_order
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores
from proposals import Proposals

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Scored:
    """An image of a batch after the networks.

    Attributes:
        seconds: that it took: its own, and its share of the batch's pass.
    """

    image: Image
    proposals: Proposals
    scores: RegionScores
    seconds: float


@dataclass(frozen=True)
class Ready:
    """An image of a batch before the networks, and the seconds that it took until then."""

    prepared: Prepared
    seconds: float


def in_batches(
    detector: Detector,
    items: Iterable[_Item],
    read: Callable[[_Item], Image],
    finish: Callable[[_Item, Scored], _Result],
    batch: int,
    workers: int = 1,
) -> Generator[_Result | Exception, None, None]:
    """What `finish` makes of the scores of each item's image, in the order of the items.

    For an item that fails there is what was raised (one of `FAULTS`), and the others go on: a batch that fails, for
    example because it does not fit into the memory, is tried image by image.

    Args:
        items: taken as they are needed; about `batch` + 3 `workers` images are held at a time.
        read: gives an item's image; on the threads.
        finish: makes the result, with `Detector.suppress`; on the threads.
        batch: how many images the networks see at once.
        workers: threads before and after the networks; 1: none.
    """

    def prepare(item: _Item) -> tuple[_Item, Ready | Exception]:
        try:
            image = read(item)
            start = time.perf_counter()
            prepared = detector.prepare(image)
            return item, Ready(prepared, time.perf_counter() - start)
        except FAULTS as error:
            return item, error

    def conclude(entry: tuple[_Item, Scored | Exception]) -> _Result | Exception:
        item, scored = entry
        if isinstance(scored, Exception):
            return scored
        try:
            return finish(item, scored)
        except FAULTS as error:
            return error

    with (
        closing(in_order(prepare, items, workers, ahead=batch)) as prepared,
        closing(in_order(conclude, _judged(detector, prepared, batch), workers)) as results,
    ):
        yield from results


def _judged(
    detector: Detector, prepared: Iterator[tuple[_Item, Ready | Exception]], batch: int
) -> Iterator[tuple[_Item, Scored | Exception]]:
    while some := list(islice(prepared, batch)):
        scored = iter(judge_each(detector, [one for _, one in some if isinstance(one, Ready)]))
        for item, one in some:
            yield item, one if isinstance(one, Exception) else next(scored)


def judge_each(detector: Detector, ready: Sequence[Ready]) -> list[Scored | Exception]:
    """The images after one pass of the networks, or what was raised (one of `FAULTS`) for each that fails alone too."""
    start = time.perf_counter()
    judged, fault = [], None
    try:
        judged = detector.score_batch([one.prepared for one in ready])
    except FAULTS as error:
        fault = error.with_traceback(None)  # which would hold what the pass had in memory
    if fault is not None:
        return [fault] if len(ready) == 1 else [result for one in ready for result in judge_each(detector, [one])]
    share = (time.perf_counter() - start) / max(1, len(ready))
    return [
        Scored(one.prepared.image, proposals, scores, one.seconds + share)
        for one, (proposals, scores) in zip(ready, judged, strict=True)
    ]
