"""Detections in the photos and frames of a run, one at a time, on several threads, or in batches; always in order."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import tee
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from detector.errors import InputError
from detector.runner.video import Frame
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.selection import Selection
from proposals.parallel import in_order

if TYPE_CHECKING:
    from detector.evaluation.prediction.predict import ImageDetector
    from detector.inference.batching import Scored

_Result = TypeVar("_Result")


class Photo(Protocol):
    """A photo that is not read yet, such as a `detector.runner.sources.Source`."""

    @property
    def name(self) -> str: ...

    def read(self) -> Image: ...


@dataclass(frozen=True)
class ImageResult:
    """The detections in a photo, and the annotated picture if there is one."""

    image: Image
    detections: Detections
    seconds: float
    picture: np.ndarray | None


FrameResult = tuple[Frame, Detections, float]
"""A frame, its detections, and the seconds they took."""


@dataclass(frozen=True)
class FrameDetector:
    """A detector and how a run uses it.

    Attributes:
        workers: threads that share the detector, each with a photo; in batch mode, threads that run before and after
            the network.
        batch: images in a batch of the networks; more than one needs a `detector.inference.pipeline.DetectionPipeline`.
        draw: whether to draw annotated pictures of photos.
    """

    detector: "ImageDetector"
    selection: Selection
    workers: int
    batch: int
    draw: bool

    def photos(self, sources: Iterable[Photo]) -> Generator[ImageResult | InputError, None, None]:
        """The result of each photo, or its error."""

        def finish(_: Photo, scored: "Scored") -> ImageResult:
            return self._result(scored.image, *self._suppress(scored))

        return in_order(self._photo, sources, self.workers) if self.batch == 1 else self._in_batches(sources, finish)

    def frames(self, frames: Iterable[Frame], one_by_one: bool) -> Generator[FrameResult, None, None]:
        """The result of each frame; raises `InputError` at the first that fails, after the results before it.

        Args:
            one_by_one: no frame waits for a batch, as those of a camera must not.
        """
        if self.batch == 1 or one_by_one:
            for frame in frames:
                yield frame, *self._detect(frame.image, frame.name)
            return

        def readable() -> Iterator[Frame | InputError]:
            try:
                yield from frames
            except InputError as error:  # raised in its turn
                yield error

        with closing(self._in_batches(readable(), lambda frame, scored: (frame, *self._suppress(scored)))) as results:
            for result in results:
                if isinstance(result, InputError):
                    raise result
                yield result

    def _photo(self, source: Photo) -> ImageResult | InputError:
        try:
            image = source.read()
            return self._result(image, *self._detect(image, source.name))
        except InputError as error:
            return error

    def _result(self, image: Image, detections: Detections, seconds: float) -> ImageResult:
        return ImageResult(image, detections, seconds, detections.draw(image) if self.draw else None)

    def _detect(self, image: Image, name: str) -> tuple[Detections, float]:
        start = time.perf_counter()
        try:
            detections = self.selection(self.detector.detect(image, self.selection.lowest_score))
        except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError when memory runs out
            raise detection_failed(name, error) from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return detections, time.perf_counter() - start

    def _suppress(self, scored: "Scored") -> tuple[Detections, float]:
        """The selected detections of an image in a batch, and its seconds."""
        from detector.inference.pipeline import DetectionPipeline

        assert isinstance(self.detector, DetectionPipeline)
        start = time.perf_counter()
        try:
            detections = self.detector.suppress(scored.proposals, scored.scores, self.selection.lowest_score)
        except InputError as error:
            raise InputError(f"{scored.image.name}: {error}") from None
        return self.selection(detections), scored.seconds + time.perf_counter() - start

    def _in_batches(
        self, items: Iterable[Any], finish: Callable[[Any, "Scored"], _Result]
    ) -> Generator[_Result | InputError, None, None]:
        """What `finish` makes of each source or frame, or its error; an item that is an `InputError` is its own."""
        from detector.inference.batching import in_batches  # imports torch
        from detector.inference.pipeline import DetectionPipeline

        assert isinstance(self.detector, DetectionPipeline)

        def read(item: Any) -> Image:
            if isinstance(item, InputError):
                raise item
            return item.read()

        taken, same = tee(items)
        with closing(in_batches(self.detector, taken, read, finish, self.batch, self.workers)) as results:
            for item, result in zip(same, results, strict=True):
                if isinstance(result, RuntimeError | MemoryError):
                    yield detection_failed(item.name, result)
                elif isinstance(result, Exception) and not isinstance(result, InputError):
                    raise result
                else:
                    yield result


def detection_failed(name: str, error: Exception) -> InputError:
    """The error of a photo at which a detector failed."""
    reason = " ".join(str(error).split()) or "not enough memory"
    return InputError(f"{name}: detection failed ({reason})")
