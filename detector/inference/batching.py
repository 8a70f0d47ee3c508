"""Batched detection of many photos.

CPU threads read photos and propose regions ahead of the networks, which run a batch at a time in the caller's thread.
Threads turn the scores into detections while the next batch runs, so that neither a GPU nor the CPU waits long.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from detector.errors import FAULTS
from detector.inference.pipeline import DetectionPipeline, Prepared
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores
from proposals import Proposals
from proposals.parallel import in_order

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Scored:
    """An image of a batch after the networks.

    Attributes:
        proposals: R boxes.
        scores: of the proposals, on the CPU.
        seconds: time of its preparation and its share of the batch's pass.
    """

    image: Image
    proposals: Proposals
    scores: RegionScores
    seconds: float


def in_batches(
    detector: DetectionPipeline,
    items: Iterable[_Item],
    read: Callable[[_Item], Image],
    finish: Callable[[_Item, Scored], _Result],
    batch: int,
    workers: int = 1,
) -> Generator[_Result | Exception, None, None]:
    """Runs a detector over the images of items and yields the results of `finish` in the order of the items.

    An item that fails yields its exception (one of `FAULTS`) and the rest continue. When a whole batch fails, for
    example for lack of memory, its images are retried one by one.

    Args:
        items: consumed as needed; about `batch` + 3 * `workers` images are in memory at a time.
        read: returns an item's image; runs on the threads.
        finish: makes the result, with `DetectionPipeline.suppress`; runs on the threads.
        batch: images that pass the networks together.
        workers: threads before and after the networks; 1: none.
    """

    def prepare(item: _Item) -> tuple[_Item, Prepared | Exception]:
        return item, _attempt(lambda: detector.prepare(read(item)))

    def conclude(entry: tuple[_Item, Scored | Exception]) -> _Result | Exception:
        item, scored = entry
        return scored if isinstance(scored, Exception) else _attempt(lambda: finish(item, scored))

    def scored_items(
        entries: Iterator[tuple[_Item, Prepared | Exception]],
    ) -> Iterator[tuple[_Item, Scored | Exception]]:
        while group := list(islice(entries, batch)):
            scored = iter(score_each(detector, [entry for _, entry in group if isinstance(entry, Prepared)]))
            for item, entry in group:
                yield item, entry if isinstance(entry, Exception) else next(scored)

    with (
        closing(in_order(prepare, items, workers, ahead=batch)) as prepared,
        closing(in_order(conclude, scored_items(prepared), workers)) as results,
    ):
        yield from results


def _attempt(work: Callable[[], _Result]) -> _Result | Exception:
    """The result of `work`, or one of `FAULTS`."""
    try:
        return work()
    except FAULTS as error:
        return error


def score_each(detector: DetectionPipeline, images: Sequence[Prepared]) -> list[Scored | Exception]:
    """Runs images through the networks together, or one by one if that fails; gives one of `FAULTS` for an image that
    fails alone too."""
    start = time.perf_counter()
    results = _attempt(lambda: detector.score_batch(images))
    if isinstance(results, Exception):
        fault = results.with_traceback(None)  # the traceback would keep the tensors of the pass in memory
        return [fault] if len(images) == 1 else [result for image in images for result in score_each(detector, [image])]
    share = (time.perf_counter() - start) / max(1, len(images))
    return [
        Scored(prepared.image, proposals, scores, prepared.seconds + share)
        for prepared, (proposals, scores) in zip(images, results, strict=True)
    ]
