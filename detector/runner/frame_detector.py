"""What a detector finds in photos and frames of a run, side by side or several at once, in their order."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from detector.errors import InputError
from detector.inference.parallel import in_order
from detector.runner.sources import Source
from detector.runner.video import Frame
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.selection import Selection

if TYPE_CHECKING:
    from detector.evaluation.prediction.predict import ImageDetector
    from detector.inference.batching import Scored
    from detector.inference.detector import Detector

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ImageResult:
    """What is found in a photo, and the picture of it."""

    image: Image
    found: Detections
    seconds: float
    picture: np.ndarray | None


Seen = tuple[Frame, Detections, float]
"""A frame, what is found in it, and the seconds that took."""


@dataclass(frozen=True)
class FrameDetector:
    """A detector with all that decides how a run uses it.

    Attributes:
        workers: threads that share the detector, each with a photo; with batches, threads beside the networks.
        batch: how many images the networks see at once; more than one needs a `detector.inference.detector.Detector`.
        draw: whether pictures are wanted of photos.
    """

    detector: "ImageDetector"
    selection: Selection
    workers: int
    batch: int
    draw: bool

    def photos(self, sources: Iterable[Source]) -> Generator[ImageResult | InputError, None, None]:
        """What is found in each photo, or what is wrong with it."""
        if self.batch == 1:
            yield from in_order(self._photo, sources, self.workers)
            return

        def made_of(source: Source, scored: "Scored") -> ImageResult:
            found, seconds = self._selected(scored)
            return ImageResult(scored.image, found, seconds, found.draw(scored.image) if self.draw else None)

        with closing(self._in_batches(sources, Source.read, made_of, lambda source: source.name)) as judged:
            yield from judged

    def frames(self, frames: Iterable[Frame], one_by_one: bool) -> Generator[Seen, None, None]:
        """What is found in each frame; raises `InputError` at the first that fails, after those before it.

        one_by_one: no frame waits for others, as a camera's must not.
        """
        if self.batch == 1 or one_by_one:
            for frame in frames:
                yield frame, *self._found(frame.image, frame.image.name)
            return
        wrong = []

        def whole() -> Iterator[Frame]:
            try:
                yield from frames
            except InputError as error:
                wrong.append(error)

        def made_of(frame: Frame, scored: "Scored") -> Seen:
            return frame, *self._selected(scored)

        judged = self._in_batches(whole(), lambda frame: frame.image, made_of, lambda frame: frame.image.name)
        with closing(judged):
            for seen in judged:
                if isinstance(seen, InputError):
                    raise seen
                yield seen
        if wrong:
            raise wrong[0]

    def _photo(self, source: Source) -> ImageResult | InputError:
        try:
            image = source.read()
            found, seconds = self._found(image, source.name)
            return ImageResult(image, found, seconds, found.draw(image) if self.draw else None)
        except InputError as error:
            return error

    def _found(self, image: Image, name: str) -> tuple[Detections, float]:
        start = time.perf_counter()
        try:
            found = self.selection(self.detector.detect(image, self.selection.lowest_score))
        except (MemoryError, RuntimeError) as error:  # torch has RuntimeError for a lack of memory
            raise no_detection(name, error) from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return found, time.perf_counter() - start

    def _in_batches(
        self,
        items: Iterable[_Item],
        read: Callable[[_Item], Image],
        finish: Callable[[_Item, "Scored"], _Result],
        name: Callable[[_Item], str],
    ) -> Generator[_Result | InputError, None, None]:
        from detector.inference.batching import in_batches  # imports torch

        names: deque[str] = deque()

        def named() -> Iterator[_Item]:
            for item in items:
                names.append(name(item))
                yield item

        with closing(in_batches(self._own, named(), read, finish, self.batch, self.workers)) as results:
            for result in results:
                own = names.popleft()
                if isinstance(result, RuntimeError | MemoryError):
                    yield no_detection(own, result)
                elif isinstance(result, Exception) and not isinstance(result, InputError):
                    raise result
                else:
                    yield result

    def _selected(self, scored: "Scored") -> tuple[Detections, float]:
        """What is wanted of an image of a batch, and its seconds."""
        start = time.perf_counter()
        try:
            found = self._own.suppress(scored.proposals, scored.scores, self.selection.lowest_score)
        except InputError as error:
            raise InputError(f"{scored.image.name}: {error}") from None
        return self.selection(found), scored.seconds + time.perf_counter() - start

    @property
    def _own(self) -> "Detector":
        from detector.inference.detector import Detector

        assert isinstance(self.detector, Detector), "batches are for a detector of our own"
        return self.detector


def no_detection(name: str, error: Exception) -> InputError:
    """What is told of a photo at which a detector failed."""
    reason = " ".join(str(error).split()) or "not enough memory"
    return InputError(f"{name}: detection failed ({reason})")
