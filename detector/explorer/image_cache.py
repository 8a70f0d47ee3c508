"""The explained photos of all visitors: one is processed at a time, and the most recent ones are kept."""

import secrets
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.data import VOCDataset
from detector.data.predictions import check_size
from detector.errors import InputError
from detector.explorer.stages import Explanation, Objects, explain
from detector.inference.pipeline import DetectionPipeline
from detector.inference.rcnn_scorer import reduce_large
from detector.structures.image import Image, read_image

LONGEST_SIDE = 2000
"""Larger photos are reduced to this longest side in pixels, which bounds time and memory."""
KEPT = 8
"""Number of photos kept in memory, each about 20 MB."""
WAITING = 16
"""Number of photos that may be in the queue."""

# The example photos of the source code; an installed package has none.
_EXAMPLES = Path(__file__).parents[2] / "tests" / "photos"


class BusyError(Exception):
    """The queue is full."""


@dataclass(frozen=True, eq=False)
class Session:
    """An explained photo.

    Attributes:
        key: its unguessable name in URLs.
        name: its name on the page.
        original_size: (width, height) before reduction, in pixels.
        objects: its annotations; None if it is not from a data set.
    """

    key: str
    name: str
    original_size: tuple[int, int]
    explanation: Explanation
    objects: Objects | None


def reduced(image: Image) -> tuple[Image, np.ndarray]:
    """The photo at `LONGEST_SIDE` if it is larger, and the (4,) factors that scale xyxy boxes to it."""
    pixels, scale = reduce_large(image.pixels, LONGEST_SIDE)
    return Image(pixels, image.name), scale


class ImageCache:
    """Explains photos one after another and keeps the most recently used.

    Args:
        dataset: visitors may choose its images and see their annotations.
        kept: number of photos to keep; the least recently used one is dropped first.
        waiting: number of photos that may be in the queue.
    """

    def __init__(
        self, detector: DetectionPipeline, dataset: VOCDataset | None = None, kept: int = KEPT, waiting: int = WAITING
    ) -> None:
        self.detector, self.dataset = detector, dataset
        self.examples = tuple(sorted(_EXAMPLES.glob("*.jpg")))
        self._kept = kept
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._queue_slots = threading.BoundedSemaphore(waiting)
        # One thread: photos are explained in order of arrival, each on all cores.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="explain")

    def add_upload(self, content: bytes, name: str) -> Future[Session]:
        """Queues the bytes of an image file.

        Raises:
            BusyError: the queue is full.
            InputError: (from the future) it is not a readable image.
        """
        return self._queue(content, name)

    def add_example(self, index: int) -> Future[Session]:
        """Queues an example photo; raises as `add_upload`, and InputError if the index is out of range."""
        if not 0 <= index < len(self.examples):
            raise InputError(f"example {index}: the number of examples is {len(self.examples)}")
        return self._queue(self.examples[index], self.examples[index].name)

    def add_sample(self, image_id: str) -> Future[Session]:
        """Queues an image of the data set; raises as `add_upload`, and InputError if it does not have the image."""
        if (dataset := self.dataset) is None:
            raise InputError("no data set is open; start the explorer with --dataset voc --root DIR --split NAME")
        if image_id not in dataset.ids:
            raise InputError(f"{image_id[:40]}: no such image in {dataset.split}, which begins with {dataset.ids[0]}")
        index = dataset.ids.index(image_id)
        return self._queue(dataset.image_path(index), image_id, index)

    def get(self, key: str) -> Session | None:
        """The photo of a key; None if it was dropped."""
        with self._lock:
            if key in self._sessions:
                self._sessions.move_to_end(key)
            return self._sessions.get(key)

    def close(self) -> None:
        """Waits for the current photo and cancels the queued ones."""
        self._worker.shutdown(cancel_futures=True)

    def _queue(self, source: bytes | Path, name: str, index: int | None = None) -> Future[Session]:
        if not self._queue_slots.acquire(blocking=False):
            raise BusyError
        future = self._worker.submit(self._explain, source, name, index)
        future.add_done_callback(lambda _: self._queue_slots.release())
        return future

    def _explain(self, source: bytes | Path, name: str, index: int | None) -> Session:
        image = read_image(source, name)
        size = (image.width, image.height)
        photo, scale = reduced(image)
        objects = None
        if index is not None and self.dataset is not None:
            check_size(size, self.dataset.annotations(index).image_size)
            objects = Objects.of_dataset(self.dataset, index, self.detector.class_names, scale)
        explanation = explain(self.detector, photo)
        session = Session(secrets.token_urlsafe(16), image.name, size, explanation, objects)
        with self._lock:
            self._sessions[session.key] = session
            while len(self._sessions) > self._kept:
                self._sessions.popitem(last=False)
        return session
