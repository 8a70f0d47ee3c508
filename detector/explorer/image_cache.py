"""The photos that visitors look at: explained one after another, the last few kept."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from detector.data import VOCDataset
from detector.data.predictions import check_size
from detector.errors import InputError
from detector.explorer.stages import Explanation, explain
from detector.explorer.truth import Objects
from detector.inference.detector import Detector
from detector.inference.rcnn_scorer import reduce_large
from detector.structures.image import Image, read_image

LONGEST_SIDE = 2000
"""A photo with a longer side is reduced to it first, in pixels: that bounds time and memory for any photo."""

KEPT = 8
"""Photos that are kept, each some 20 MB."""

WAITING = 16
"""Photos that may wait for their turn."""

_EXAMPLES = Path(__file__).parents[2] / "tests" / "photos"


class BusyError(Exception):
    """Too many photos are waiting."""


@dataclass(frozen=True, eq=False)
class Session:
    """An explained photo.

    Attributes:
        key: its name in addresses, which cannot be guessed.
        name: for the reader.
        original_size: (width, height) of the photo as it came.
        objects: what is annotated in it, if it is of a data set.
    """

    key: str
    name: str
    original_size: tuple[int, int]
    explanation: Explanation
    objects: Objects | None


class ImageCache:
    """Explains photos in turn and keeps the last few.

    Args:
        detector: explains the photos.
        dataset: from which visitors may choose images, with their annotations.
        kept: number of photos that are kept; the one that was not looked at for longest goes first.
        waiting: number of photos that may wait.
    """

    def __init__(
        self, detector: Detector, dataset: VOCDataset | None = None, kept: int = KEPT, waiting: int = WAITING
    ) -> None:
        self.detector, self.dataset = detector, dataset
        self.examples = example_photos()
        self._kept = kept
        self._exhibits: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(waiting)
        # One thread: photos are explained in the order in which they come, each with all cores.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="explain")

    def add_upload(self, content: bytes, name: str) -> Future[Session]:
        """Queues the bytes of a photo's file.

        Raises:
            BusyError: too many are waiting.
            InputError: (of the future) it is no photo.
        """
        return self._queue(lambda: self._explain(read_image(content, name), None))

    def add_example(self, index: int) -> Future[Session]:
        """Queues an example photo; raises as `add_upload`, and InputError if there is no such example."""
        if not 0 <= index < len(self.examples):
            raise InputError(f"example {index}: there are {len(self.examples)}")
        path = self.examples[index]
        return self._queue(lambda: self._explain(read_image(path, path.name), None))

    def add_sample(self, image_id: str) -> Future[Session]:
        """Queues an image of the data set; raises as `add_upload`, and InputError if there is no such image."""
        dataset = self.dataset
        if dataset is None:
            raise InputError("there is no data set; start the explorer with --dataset voc --root DIR --split NAME")
        if image_id not in dataset.ids:
            raise InputError(f"{image_id[:40]}: no such image in {dataset.split}, which begins with {dataset.ids[0]}")
        index = dataset.ids.index(image_id)
        return self._queue(lambda: self._explain(read_image(dataset.image_path(index), image_id), index))

    def get(self, key: str) -> Session | None:
        """A photo that is still kept."""
        with self._lock:
            if key in self._exhibits:
                self._exhibits.move_to_end(key)
            return self._exhibits.get(key)

    def close(self) -> None:
        """Waits for the photo in work and lets go of those that wait."""
        self._worker.shutdown(cancel_futures=True)

    def _queue(self, work: Callable[[], Session]) -> Future[Session]:
        if not self._turns.acquire(blocking=False):
            raise BusyError
        future = self._worker.submit(work)
        future.add_done_callback(lambda _: self._turns.release())
        return future

    def _explain(self, image: Image, index: int | None) -> Session:
        size = (image.width, image.height)
        pixels, scale = reduce_large(image.pixels, LONGEST_SIDE)
        objects = None
        if index is not None and self.dataset is not None:
            check_size(size, self.dataset.annotations(index).image_size)
            objects = Objects.of_dataset(self.dataset, index, self.detector.class_names, scale)
        explanation = explain(self.detector, Image(pixels, image.name))
        session = Session(secrets.token_urlsafe(16), image.name, size, explanation, objects)
        with self._lock:
            self._exhibits[session.key] = session
            while len(self._exhibits) > self._kept:
                self._exhibits.popitem(last=False)
        return session


def example_photos() -> tuple[Path, ...]:
    """The photos that come with the source code; none in an installed package."""
    return tuple(sorted(_EXAMPLES.glob("*.jpg")))
