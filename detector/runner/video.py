"""Reads videos and cameras and writes videos, frame by frame, with OpenCV."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, START_BYTES, is_pointer
from detector.storage.run_store import writing
from detector.structures.image import MAX_PIXELS, Image, missing_file, without_password

VIDEO_EXTENSIONS = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts",
)  # fmt: skip
"""File name extensions of videos, in lower case."""

STREAMS = ("rtsp", "rtsps", "rtmp", "udp", "srt")
"""Schemes of the addresses of live videos, which OpenCV opens."""

# Frames per second where the file does not say.
_USUAL_FPS = 25.0
# A video may lack so many frames, or this share of them, and count as complete: containers without an index estimate
# the number, and players skip frames before the start of an edit list.
_MISSING_FRAMES = 3
_MISSING_SHARE = 0.02
# Bytes left free on the disk, so that a video that fills it can still be closed.
_RESERVE = 2**24


@dataclass(frozen=True)
class Video:
    """A video that is not opened yet: a file, or where `path` is None, one at an `address` or a camera."""

    path: Path | None
    camera: int = 0
    address: str | None = None

    @property
    def live(self) -> bool:
        """Whether it is a camera or a stream (rtsp://...), which do not wait and have no end."""
        return self.path is None and (self.address is None or self.address.startswith(tuple(f"{s}:" for s in STREAMS)))

    @property
    def name(self) -> str:
        """The path or address as the user wrote it, or "camera0"."""
        if self.address is not None:
            return without_password(self.address)
        return f"camera{self.camera}" if self.path is None else str(self.path)

    @property
    def file_name(self) -> str:
        if self.address is not None:
            place = urlsplit(self.address)
            return PurePosixPath(place.path).name or place.hostname or "video"
        return self.name if self.path is None else self.path.name

    def open(self) -> "VideoReader":
        """Raises `InputError` if the video or camera does not exist or cannot be decoded."""
        return VideoReader(self)


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video: its number from 0, its time in seconds from the start, and its pixels."""

    index: int
    time: float
    image: Image

    @property
    def name(self) -> str:
        return self.image.name

    def read(self) -> Image:
        """The image, as a photo's `Source` gives it."""
        return self.image


class VideoReader(AbstractContextManager["VideoReader"]):
    """An open video. It yields one frame at a time, so that memory does not grow with its length.

    Attributes:
        frame_rate: frames per second; 25 where the file does not say.
        frame_count: from the header of a file; None if it does not say, and for a camera.
    """

    def __init__(self, video: Video) -> None:
        cv2 = _opencv()
        self._video = video
        if video.address is not None:
            with _quiet():
                self._capture = cv2.VideoCapture(video.address, _backend())
        elif video.path is None:
            with _quiet():
                self._capture = cv2.VideoCapture(video.camera)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # otherwise a slow detector sees ever older frames
        else:
            _check_file(video.path)
            with _quiet():
                self._capture = cv2.VideoCapture(str(video.path), _backend())
        if not self._capture.isOpened():
            self.close()
            if video.address is not None:
                raise InputError(f"{video.name}: cannot be opened; check the address and that it is a video")
            if video.path is None:
                raise InputError(
                    f"{self._live_name}: cannot be opened; check that it is connected, that no other program uses "
                    "it, and its access rights"
                )
            raise InputError(f"{video.name}: damaged, or not a video in a known format; convert it to MP4 (H.264)")
        width, height = (int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            raise InputError(f"{video.name}: frames are larger than {MAX_PIXELS // 1_000_000} megapixels")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = rate if 0 < rate <= 1000 else _USUAL_FPS  # written so that NaN fails too
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if not video.live and 0 < count < 1e9 else None

    def frames(self, step: int = 1) -> Iterator[Frame]:
        """Every `step`-th frame, starting with the first. A camera yields frames until it is unplugged.

        Raises:
            InputError: after the last frame, if frames are missing or cannot be decoded, or the camera is unplugged.
        """
        cv2 = _opencv()
        started = time.monotonic()
        index = unreadable = 0
        while self._capture.grab():
            if index % step == 0:
                good, bgr = self._capture.retrieve()
                if good and bgr is not None:
                    seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    if self._video.live:
                        seconds = time.monotonic() - started
                    elif not seconds > 0:  # some formats have no times
                        seconds = index / self.frame_rate
                    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                    yield Frame(index, seconds, Image(rgb, frame_name(self._video, index)))
                else:
                    unreadable += 1
            index += 1
        if self._video.live:
            raise InputError(f"{self._live_name}: delivers no more frames; check that it is connected")
        missing = unreadable + max(0, (self.frame_count or 0) - index)
        if missing > max(_MISSING_FRAMES, _MISSING_SHARE * (self.frame_count or 0)) or index == unreadable:
            count = max(index, self.frame_count or 0)
            raise InputError(
                f"{self._video.name}: damaged or cut short: {missing} of {count} frames cannot be read; get a new copy"
            )

    @property
    def _live_name(self) -> str:
        return f"camera {self._video.camera}" if self._video.address is None else self._video.name

    def close(self) -> None:
        self._capture.release()

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Writes an MP4 frame by frame; whatever ends the run, the frames so far can be played.

    The file is written beside `path` and becomes `path` when it is closed. Without frames there is no file.

    Args:
        path: ends in .mp4.
        frame_rate: frames per second.
    """

    def __init__(self, path: Path, frame_rate: float) -> None:
        self.path = path
        self.frame_rate = frame_rate
        # Always the same name, so that the resumed run replaces what a kill left behind.
        self._temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
        self._writer: Any = None
        self._size = (0, 0)
        self.frames = 0

    def write(self, pixels: np.ndarray, until: float | None = None) -> None:
        """Appends (H, W, 3) uint8 RGB `pixels`, all of one size.

        Args:
            until: the time in seconds of a camera's frame. The detector sets the pace of frames, so each is repeated or
                dropped to keep the video in time.

        Raises:
            InputError: it cannot be written. The frames so far can still be closed.
        """
        cv2 = _opencv()
        height, width = pixels.shape[:2]
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if width % 2 or height % 2:  # the encoder halves the resolution of colors
            bgr = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        with writing(self.path, InputError):  # OpenCV does not report a full disk
            if shutil.disk_usage(self.path.parent).free < _RESERVE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
        """Raises `InputError` if the video cannot be played or moved to `path`."""
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
                raise InputError(f"{self.path}: cannot be written (the encoder made a file that does not play)")
            with writing(self.path, InputError):
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        with nullcontext() if error is None else suppress(InputError):  # the first error matters more
            self.close()


def frame_name(video: Video, index: int) -> str:
    """The name of a frame in results: "clip.mp4#12"."""
    return f"{video.name}#{index}"


def _check_file(path: Path) -> None:
    """Raises `InputError` with the reason, which OpenCV does not give."""
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
        if not start:
            raise InputError(f"{path}: the file is empty; get a new copy")
        if is_pointer(start):
            raise InputError(f"{path}: {NOT_FETCHED}")
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error}); check the path") from None


def _opencv() -> Any:
    import cv2

    return cv2


def _backend() -> int:
    """FFmpeg if available: the backends that OpenCV tries after it print on the terminal and expand "%02d" in names."""
    cv2 = _opencv()
    code: int = cv2.CAP_FFMPEG if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG) else cv2.CAP_ANY
    return code


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences OpenCV and FFmpeg, whose messages would surround our one line on a file."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when the first file is opened
    logging = _opencv().utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
