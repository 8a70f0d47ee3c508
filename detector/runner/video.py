"""Videos and cameras, frame by frame, in and out; OpenCV decodes and encodes."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from detector.errors import InputError
from detector.structures.image import MAX_PIXELS, Image, missing_file

VIDEO_EXTENSIONS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts",
)  # fmt: skip
"""File name extensions, in lower case, by which videos are found."""

_USUAL_FPS = 25.0
# Containers without an index estimate their frames, and players leave out those before an edit list's start.
_MISSING_FRAMES = 3
_MISSING_SHARE = 0.02
# Left free on the disk, so that a video that fills it can still be closed.
_RESERVE = 2**24


@dataclass(frozen=True)
class Video:
    """A video that was named but not yet opened: a file, or a camera where `path` is None."""

    path: Path | None
    camera: int = 0

    @property
    def name(self) -> str:
        """The path as the user wrote it, or such as "camera0"."""
        return f"camera{self.camera}" if self.path is None else str(self.path)

    @property
    def file_name(self) -> str:
        return self.name if self.path is None else self.path.name

    def open(self) -> "VideoReader":
        """Raises `InputError` if there is no such video or camera, or it cannot be decoded."""
        return VideoReader(self)


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video: its place, from 0, its time in seconds from the start, and its pixels."""

    index: int
    time: float
    image: Image


class VideoReader:
    """An open video. Frames come one at a time, so that memory does not grow with its length.

    Attributes:
        frame_rate: frames a second; 25 where the file does not tell.
        frame_count: of a file, as its header says; None where that does not tell, and of a camera.
    """

    def __init__(self, video: Video) -> None:
        cv2 = _opencv()
        self._video = video
        if video.path is None:
            with _quiet():
                self._capture = cv2.VideoCapture(video.camera)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # otherwise a slow detector sees ever older frames
        else:
            _check_file(video.path)
            with _quiet():
                self._capture = cv2.VideoCapture(str(video.path), _backend())
        if not self._capture.isOpened():
            self.close()
            if video.path is None:
                raise InputError(
                    f"camera {video.camera}: cannot be opened; check that it is connected, that no other program has "
                    "it, and the access rights"
                )
            raise InputError(f"{video.name}: damaged, or not a video in a known format; convert it to MP4 (H.264)")
        width, height = (int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            raise InputError(f"{video.name}: frames are larger than {MAX_PIXELS // 1_000_000} megapixels")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = rate if 0 < rate <= 1000 else _USUAL_FPS  # written so that NaN fails too
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if video.path is not None and 0 < count < 1e9 else None

    def frames(self, step: int = 1) -> Iterator[Frame]:
        """Every `step`-th frame, from the first on.

        Raises `InputError`, after the last frame that there is, if the video is damaged: frames are missing or
        cannot be decoded. A camera goes on until it is unplugged, which is an error too.
        """
        cv2 = _opencv()
        started = time.monotonic()
        index = unreadable = 0
        while self._capture.grab():
            if index % step == 0:
                good, bgr = self._capture.retrieve()
                if good and bgr is not None:
                    seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    if self._video.path is None:
                        seconds = time.monotonic() - started
                    elif not seconds > 0:  # not every format has times
                        seconds = index / self.frame_rate
                    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                    yield Frame(index, seconds, Image(rgb, frame_name(self._video, index)))
                else:
                    unreadable += 1
            index += 1
        if self._video.path is None:
            raise InputError(f"camera {self._video.camera}: gives no more frames; check that it is connected")
        missing = unreadable + max(0, (self.frame_count or 0) - index)
        if missing > max(_MISSING_FRAMES, _MISSING_SHARE * (self.frame_count or 0)) or index == unreadable:
            count = max(index, self.frame_count or 0)
            raise InputError(
                f"{self._video.name}: damaged or cut short: {missing} of {count} frames cannot be read; get it again "
                "from where it came"
            )

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoWriter:
    """An MP4 that is written frame by frame; whatever ends the work, what was written can be played.

    It is written beside `path` and becomes `path` when it is closed; without any frame there is no file.

    Args:
        path: ends in .mp4.
        frame_rate: frames a second.
    """

    def __init__(self, path: Path, frame_rate: float) -> None:
        self.path = path
        self.frame_rate = frame_rate
        # Always the same, so that what a kill leaves is written over when the run is gone on with.
        self._temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
        self._writer: Any = None
        self._size = (0, 0)
        self.frames = 0

    def write(self, pixels: np.ndarray, until: float | None = None) -> None:
        """Appends (H, W, 3) uint8 RGB `pixels`, all of one size.

        until: the time of the frame, in seconds, of a camera: frames come as fast as they are judged, and each is
            repeated, or left out, so that the video keeps the camera's pace.

        Raises `InputError` if that fails. What was written before can still be closed.
        """
        cv2 = _opencv()
        height, width = pixels.shape[:2]
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if width % 2 or height % 2:  # the encoder halves the colors' resolution
            bgr = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        try:
            # OpenCV does not tell when the disk is full.
            if shutil.disk_usage(self.path.parent).free < _RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from None
        if self._writer is None:
            self._size = (width, height)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = bgr.shape[1], bgr.shape[0]
            with _quiet():
                self._writer = cv2.VideoWriter(str(self._temporary), code, self.frame_rate, size)
            if not self._writer.isOpened():
                self._writer = None
                self._temporary.unlink(missing_ok=True)
                raise InputError(f"{self.path}: cannot be written as a video (OpenCV has no encoder for it)")
        if (width, height) != self._size:
            raise InputError(f"{self.path}: frames of {width}x{height} pixels after {self._size[0]}x{self._size[1]}")
        for _ in range(1 if until is None else round(until * self.frame_rate) + 1 - self.frames):
            self._writer.write(bgr)
            self.frames += 1

    def close(self) -> None:
        """Raises `InputError` if what was written cannot be played or put in its place."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            with _quiet():
                check = _opencv().VideoCapture(str(self._temporary), _backend())
                playable = check.grab()
                check.release()
            if not playable:
                raise InputError(f"{self.path}: could not be written (the encoder left nothing that plays)")
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from None
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.close()
        except InputError:
            if error is None:  # otherwise that one is the news
                raise


def frame_name(video: Video, index: int) -> str:
    """What results call a frame: "clip.mp4#12"."""
    return f"{video.name}#{index}"


def _check_file(path: Path) -> None:
    """OpenCV only says that it could not open a file."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: the file is empty; get it again from where it came")
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error}); check the path") from None


def _opencv() -> Any:
    import cv2

    return cv2


def _backend() -> int:
    """FFmpeg where there is one: what OpenCV tries after it prints on the terminal, and takes "%02d" for a number."""
    cv2 = _opencv()
    code: int = cv2.CAP_FFMPEG if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG) else cv2.CAP_ANY
    return code


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV and FFmpeg write on the terminal what is wrong with a file, which we say in one line."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when the first file is opened
    logging = _opencv().utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
