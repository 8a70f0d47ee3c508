"""The detections in photos, videos and cameras, one picture after the other, for programs."""

import functools
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from numbers import Integral
from typing import Literal, get_args

from detector.errors import InputError
from detector.runner.frame_detector import FrameDetector
from detector.runner.sources import Source
from detector.runner.tracking import Tracker, import_trackers
from detector.runner.video import Video
from detector.structures.detections import Detections
from detector.structures.image import ImageReference
from proposals.names import unknown_name

_logger = logging.getLogger(__name__)

Errors = Literal["raise", "skip"]
"""What happens at a picture that cannot be read: its error is raised, or it is logged as a warning and left out."""
Medium = Source | ImageReference | Video | InputError


def stream(
    detector: FrameDetector,
    media: Iterable[Medium],
    errors: Errors = "raise",
    frame_step: int = 1,
    track: bool = False,
) -> Iterator[Detections]:
    """The detections of each photo and frame, in order, as they are asked for.

    Each result knows its picture: a photo is read again when it is drawn, a frame can be drawn until the next result.

    Args:
        media: such as `detector.runner.sources.find_media` finds.
        frame_step: take every n-th frame of a video.
        track: whether the objects of videos get track ids (`Tracker`).

    Raises:
        InputError: a picture cannot be read and `errors` is "raise", an argument is wrong, or what `track` needs is not
            installed.
    """
    if errors not in get_args(Errors):
        raise InputError(unknown_name("errors", errors, get_args(Errors)))
    if not isinstance(frame_step, Integral) or frame_step < 1:
        raise InputError(f"frame_step {frame_step!r} is not a whole number of frames, at least 1")
    if track:
        import_trackers()  # fails at once if they are missing
    return _checked(_results(detector, media, frame_step, track), errors)


def _checked(results: Iterable[Detections | InputError], errors: Errors) -> Iterator[Detections]:
    for result in results:
        if not isinstance(result, InputError):
            yield result
        elif errors == "raise":
            raise result
        else:
            _logger.warning("%s", result)


def _results(
    detector: FrameDetector, media: Iterable[Medium], frame_step: int, track: bool
) -> Iterator[Detections | InputError]:
    for is_photo, group in groupby(media, lambda medium: isinstance(medium, Source | ImageReference)):
        if is_photo:
            yield from _photos(detector, group)
            continue
        for medium in group:
            try:
                if isinstance(medium, Video):
                    yield from _frames(detector, medium, frame_step, track)
                elif isinstance(medium, InputError):
                    yield medium
            except InputError as error:
                yield error


def _photos(detector: FrameDetector, photos: Iterable[Medium]) -> Iterator[Detections | InputError]:
    begun: deque[ImageReference] = deque()

    def references() -> Iterator[ImageReference]:
        for photo in photos:
            if isinstance(photo, Source):  # standard input can be read only once
                photo = ImageReference(
                    photo.name, photo.read if photo.path is not None else functools.cache(photo.read)
                )
            assert isinstance(photo, ImageReference)
            begun.append(photo)
            yield photo

    with closing(detector.photos(references())) as results:
        for result in results:
            picture = begun.popleft()
            yield result if isinstance(result, InputError) else result.detections.with_picture(picture)


def _frames(detector: FrameDetector, video: Video, step: int, track: bool) -> Iterator[Detections]:
    with video.open() as reader:
        tracker = None
        if track:
            tracker = Tracker(detector.selection, reader.frame_rate / step)
            detector = replace(detector, selection=Tracker.candidates(detector.selection))
        with closing(detector.frames(reader.frames(step), one_by_one=video.live)) as results:
            for frame, found, _ in results:
                picture = ImageReference(frame.image.name, functools.partial(lambda image: image, frame.image))
                yield (found if tracker is None else tracker(found)).with_picture(picture)
                picture.release()
