"""Reading images: every kind of input becomes an `Image` of upright 8-bit RGB pixels."""

import functools
import http.client
import io
import os
import re
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PillowImage

from detector.errors import InputError
from detector.io.lfs import NOT_FETCHED, START_BYTES, is_pointer
from proposals.names import unknown_name

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 150_000_000
"""Larger photos are refused, so that a small crafted file cannot exhaust the memory."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA")
"""Pillow's names of the supported formats. Its other formats are not photos or start external programs (EPS)."""

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".webp", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
"""File name extensions of the supported formats, in lower case."""

_HEIC_EXTENSIONS = (".heic", ".heif")
NOT_SUPPORTED = "is in HEIC, a format that is not supported; convert it to JPEG"

FOUND_EXTENSIONS = (*EXTENSIONS, *_HEIC_EXTENSIONS)
"""Extensions by which a folder's photos are found. HEIC is included, so that it is reported."""

# What undoes each value of the EXIF orientation tag; 1 is upright.
_UPRIGHT = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}

_LARGE_READ = 2**20
_LARGEST_DOWNLOAD, _DOWNLOAD_SECONDS = 2**28, 30


@dataclass(frozen=True, eq=False)
class Image:
    """An upright photo.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, C-contiguous.
        name: identifies the photo in messages and results.

    Raises:
        InputError: the array is of another kind; `as_image` converts.
    """

    pixels: np.ndarray
    name: str

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype != np.uint8:
            raise InputError(f"{self.name}: pixels are {dtype} {shape}; an Image holds uint8 (H, W, 3)")
        if not self.pixels.flags.c_contiguous:
            raise InputError(f"{self.name}: pixels are not contiguous; use np.ascontiguousarray")

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]


@dataclass(eq=False)
class ImageReference:
    """Where the picture of a result is, so that it can be read when it is needed.

    Attributes:
        name: of the picture in messages and results.
        read: reads or converts it; raises `InputError` if that fails.
        is_bgr: whether it is a BGR array.
    """

    name: str
    read: Callable[[], Image]
    is_bgr: bool = False

    @classmethod
    def of(cls, source: object, channels: str | None = None) -> Self:
        """A reference to anything that `as_image` takes: a path is read when needed, streams once, all else is kept."""
        if isinstance(source, str | os.PathLike):
            return cls(os.fspath(source), lambda: as_image(source))
        name = next((n for n in (getattr(source, key, None) for key in ("name", "filename")) if n), None)
        name = name if isinstance(name, str) else f"<{type(source).__name__}>"
        if callable(getattr(source, "read", None)):
            return cls(name, functools.cache(lambda: as_image(source)))
        is_bgr = channels == "BGR" and isinstance(source, np.ndarray)
        return cls(name, lambda: as_image(source, channels), is_bgr)

    def release(self) -> None:
        """Gives up a frame of a video whose pixels are not kept."""
        self.read = self._gone

    def _gone(self) -> Image:
        raise InputError(f"{self.name}: the frame is gone, the stream went on; draw it before the next, or give image=")


def read_image(source: str | os.PathLike[str] | bytes | BinaryIO, name: str | None = None) -> Image:
    """Decodes a photo from a path, the bytes of a file, or a binary stream.

    The EXIF orientation is applied; gray, palette and CMYK images become RGB; transparent pixels are composited on
    white; 16-bit channels keep their upper 8 bits; animations yield their first frame. Embedded color profiles are
    ignored.

    Args:
        source: the path, bytes or stream, or the address (https://...) of a photo, which is downloaded.
        name: for messages and results; by default the path or the stream's name.

    Raises:
        InputError: this is not a readable photo of at most `MAX_PIXELS` pixels; one line that starts with the name.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), name or "<bytes>")
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return _decode(io.BytesIO(_download(source)), name or without_password(source))
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source), name or os.fspath(source))
    if not callable(getattr(source, "read", None)):
        kind = type(source).__name__
        raise InputError(f"cannot read a photo from {kind}; give a path, bytes or a binary stream")
    stream_name = getattr(source, "name", None)
    name = name or (stream_name if isinstance(stream_name, str) else "<stream>")
    content = source.read()
    if not isinstance(content, bytes):
        raise InputError(f"{name}: the stream gives text; open it in binary mode ('rb')")
    return _decode(io.BytesIO(content), name)


def as_image(source: object, channels: str | None = None, name: str | None = None) -> Image:
    """Converts any supported kind of image to an `Image`.

    Args:
        source: a path, bytes or binary stream (see `read_image`); a Pillow image, whose EXIF orientation is applied; a
            numpy array (H, W, 3) uint8 with `channels`, or (H, W) uint8 gray; a torch tensor (3, H, W) RGB, uint8 or
            floating point in 0..1; an `Image`, which is returned unchanged. A contiguous RGB array is shared, not
            copied.
        channels: order of a numpy array, "RGB" or "BGR" (OpenCV); ignored for the other kinds.
        name: for messages and results.

    Raises:
        InputError: the source is of another kind or cannot be read.
    """
    if channels not in (None, "RGB", "BGR"):
        raise InputError(unknown_name("channels", channels, ("RGB", "BGR")))
    if isinstance(source, Image):
        return source
    if isinstance(source, PillowImage.Image):
        return _from_pillow(source, name or getattr(source, "filename", "") or "<Pillow image>")
    if isinstance(source, np.ndarray):
        return _from_array(source, channels, name or "<array>")
    # A tensor can only exist if torch has been imported; importing it here would cost every caller seconds.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        if channels == "BGR":
            raise InputError("a torch tensor is taken as RGB; reverse its channels with tensor.flip(0)")
        return _from_tensor(source, name or "<tensor>")
    return read_image(source, name)  # type: ignore[arg-type]  # read_image refuses the rest


def read_size(path: Path) -> tuple[int, int]:
    """Width and height of an upright photo in pixels, from its header; InputError as `read_image`."""
    with _decoding(str(path)), path.open("rb") as file, _open(file, str(path)) as photo:
        width, height = photo.size  # of a TIFF, Pillow gives the upright size
        turned = photo.format != "TIFF" and _orientation(photo) in range(5, 9)
        return (height, width) if turned else (width, height)


def is_heic(path: Path) -> bool:
    """Whether a file's extension is that of phones' HEIC photos, which are not supported."""
    return path.suffix.lower() in _HEIC_EXTENSIONS


def is_address(name: str) -> bool:
    """Whether a name is an address such as https://... or rtsp://... rather than a path."""
    return re.match(r"[A-Za-z][\w+.-]+://", name) is not None


def without_password(address: str) -> str:
    """The address without the user's name and password, which belong in no message or result.

    >>> without_password("rtsp://me:secret@10.0.0.2:554/live")
    'rtsp://10.0.0.2:554/live'
    """
    return re.sub(r"(?<=://)[^/@]*@", "", address)


def _download(address: str) -> bytes:
    name = without_password(address)
    try:
        with urllib.request.urlopen(address, timeout=_DOWNLOAD_SECONDS) as response:
            content: bytes = response.read(_LARGEST_DOWNLOAD + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{name}: cannot be downloaded ({_one_line(reason)}); check the address") from None
    if len(content) > _LARGEST_DOWNLOAD:
        raise InputError(
            f"{name}: larger than the limit of {_LARGEST_DOWNLOAD >> 20} MiB; download and reduce it first"
        )
    return content


def missing_file(name: str | Path, what: str = "file") -> InputError:
    """The error for a path that does not exist."""
    if re.match(r"[A-Za-z][\w+.-]+:/", str(name)):  # also a Path, which has one slash
        return InputError(f"{name}: addresses of this kind are not read here; download it first")
    return InputError(f"{name}: no such {what}; check the path")


class _BoundedReader(io.BufferedReader):
    """Caps each read at the file's size: Python allocates what a damaged header asks for before it reads."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGE_READ and self.seekable():
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _read_file(path: Path, name: str) -> Image:
    try:
        file = _BoundedReader(path.open("rb", buffering=0))
    except FileNotFoundError:
        raise missing_file(name) from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; give a photo in it") from None
    except PermissionError:
        raise InputError(f"{name}: no permission to read it; check the access rights") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise InputError(f"{name!r}: cannot be opened ({_one_line(error)}); check the path") from None
    with file:
        return _decode(file if file.seekable() else io.BytesIO(file.read()), name)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns whatever decoders raise on broken data, from OSError to zlib.error, into `InputError`."""
    try:
        # Pillow warns about sizes that are still allowed here and about metadata that is not used.
        with warnings.catch_warnings(action="ignore"):
            yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{name}: not enough memory to decode it; make it smaller first") from None
    except PillowImage.DecompressionBombError:
        limit = f"{MAX_PIXELS // 1_000_000} megapixels"
        raise InputError(f"{name}: larger than the limit of {limit}; make it smaller first") from None
    except Exception as error:
        raise InputError(f"{name}: damaged or cut short ({_one_line(error)}); get an intact copy") from None


def _decode(file: BinaryIO, name: str) -> Image:
    with _decoding(name), _open(file, name) as photo:
        return _from_pillow(photo, name)


def _open(file: BinaryIO, name: str) -> PillowImage.Image:
    if not file.read(1):
        raise InputError(f"{name}: the file is empty; get an intact copy")
    PillowImage.init()
    try:
        return PillowImage.open(file, formats=[each for each in FORMATS if each in PillowImage.OPEN])
    except UnidentifiedImageError:
        file.seek(0)
        if is_pointer(file.read(START_BYTES)):
            raise InputError(f"{name}: {NOT_FETCHED}") from None
        if is_heic(Path(name)):
            raise InputError(f"{name}: {NOT_SUPPORTED}") from None
        raise InputError(f"{name}: not a photo in a known format; convert it to JPEG or PNG") from None


def _from_pillow(photo: PillowImage.Image, name: str) -> Image:
    with _decoding(name):
        if photo.width * photo.height > MAX_PIXELS:
            raise PillowImage.DecompressionBombError
        photo.load()
        transpose = _UPRIGHT.get(_orientation(photo))
        rgb = _to_rgb(photo, name)
        return Image(np.array(rgb if transpose is None else rgb.transpose(transpose)), name)


def _one_line(error: object) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _orientation(photo: PillowImage.Image) -> int:
    try:
        return photo.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata: take the photo as upright
        return 1


def _to_rgb(photo: PillowImage.Image, name: str) -> PillowImage.Image:
    if photo.mode.startswith("I;16") or (photo.mode == "I" and photo.format == "PPM"):
        # Pillow's conversion clips 16-bit gray at 255; keep the upper byte, as it does for 16-bit color.
        gray = (np.asarray(photo).astype(np.uint16) >> 8).astype(np.uint8)
        return PillowImage.fromarray(gray).convert("RGB")
    if photo.mode in ("I", "F"):
        raise InputError(f"{name}: has 32-bit gray of unknown range; convert it to 8 or 16 bits")
    if not photo.has_transparency_data:
        return photo.convert("RGB")
    white = PillowImage.new("RGBA", photo.size, "white")
    return PillowImage.alpha_composite(white, photo.convert("RGBA")).convert("RGB")


def _from_array(array: np.ndarray, channels: str | None, name: str) -> Image:
    if array.dtype != np.uint8:
        hint = "; from 0..1: (array * 255).round().astype(np.uint8)" if array.dtype.kind == "f" else ""
        raise InputError(f"{name}: dtype is {array.dtype}; give uint8, values 0 to 255{hint}")
    if array.size == 0:
        raise InputError(f"{name}: the array is empty, shape {array.shape}")
    if array.ndim == 2:
        return Image(np.repeat(array[:, :, None], 3, axis=2), name)
    if array.ndim != 3 or array.shape[2] != 3:
        hint = _shape_hint(array)
        raise InputError(f"{name}: shape is {array.shape}; give (H, W, 3), or (H, W) for gray{hint}")
    if channels is None:
        raise InputError(f'{name}: give the order of its channels: channels="RGB", or "BGR" from OpenCV')
    return Image(np.ascontiguousarray(array if channels == "RGB" else array[:, :, ::-1]), name)


def _shape_hint(array: np.ndarray) -> str:
    if array.ndim == 4:
        return "; give several photos as a list"
    if array.ndim == 3 and array.shape[2] == 4:
        return "; drop the transparency with array[:, :, :3]"
    if array.ndim == 3 and array.shape[0] == 3:
        return "; put the channels last with array.transpose(1, 2, 0)"
    return ""


def _from_tensor(tensor: "torch.Tensor", name: str) -> Image:
    shape = tuple(tensor.shape)
    if len(shape) != 3 or shape[0] != 3 or 0 in shape:
        hint = "; give several photos as a list of tensors" if len(shape) == 4 else ""
        raise InputError(f"{name}: shape is {shape}; a torch tensor is (3, H, W) RGB{hint}")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = tensor.min().item(), tensor.max().item()
        if not (low >= 0 and high <= 1):  # also catches NaN
            raise InputError(f"{name}: values from {low:g} to {high:g}; give 0 to 1, not normalized")
        pixels = (tensor.float() * 255).round().byte().numpy()
    elif str(tensor.dtype) == "torch.uint8":
        pixels = tensor.numpy()
    else:
        raise InputError(f"{name}: dtype is {tensor.dtype}; give uint8, or floating values in 0..1")
    return Image(np.ascontiguousarray(pixels.transpose(1, 2, 0)), name)
