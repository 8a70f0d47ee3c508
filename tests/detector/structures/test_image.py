"""Every kind of photo becomes upright RGB; anything else raises an error of one line."""

import io
import os
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, ImageOps
from PIL import Image as PillowImage

from detector.errors import InputError
from detector.structures.image import Image, as_image, read_image, read_size

# Four quadrants of distinct colors, so that no rotation or flip maps the image to itself.
RED, GREEN, BLUE, GRAY = (200, 30, 20), (20, 180, 30), (30, 40, 190), (120, 120, 120)

FINE_JPEG: dict[str, object] = {"quality": 95, "subsampling": 0}


def quadrants(width: int = 64, height: int = 32) -> np.ndarray:
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = GRAY
    return pixels


def encoded(photo: PillowImage.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, format_, **options)
    return buffer.getvalue()


def png(color_type: int, depth: int, width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG file from raw rows (unfiltered), for the kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = len(rows) // height
    body = b"".join(b"\0" + rows[row * stride : (row + 1) * stride] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def assert_close(image: Image, expected: np.ndarray, tolerance: int = 0) -> None:
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert image.pixels.shape == expected.shape
    assert np.abs(image.pixels.astype(int) - expected.astype(int)).max() <= tolerance


def error_of(source: object, *args: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        as_image(source, *args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("format_", "tolerance"),
    [*((f, 0) for f in ("PNG", "BMP", "TIFF", "PPM", "TGA", "GIF", "JPEG2000")), ("JPEG", 6), ("WEBP", 6)],
)
def test_formats_give_the_same_pixels(format_, tolerance, tmp_path):
    path = tmp_path / "photo"
    options = {"JPEG2000": {"no_jp2": False}, "JPEG": FINE_JPEG, "WEBP": {"lossless": True}}.get(format_, {})
    path.write_bytes(encoded(PillowImage.fromarray(quadrants()), format_, **options))
    image = read_image(path)
    assert_close(image, quadrants(), tolerance)
    assert (image.width, image.height) == (64, 32)
    assert image.name == str(path)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, format_, tmp_path):
    """The same as Pillow's own function."""
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = FINE_JPEG if format_ == "JPEG" else {"lossless": True} if format_ == "WEBP" else {}
    stored = encoded(PillowImage.fromarray(quadrants()), format_, exif=exif, **options)
    with PillowImage.open(io.BytesIO(stored)) as photo:
        expected = np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
    assert expected.shape == ((64, 32, 3) if orientation >= 5 else (32, 64, 3))
    path = tmp_path / "photo"
    path.write_bytes(stored)
    assert_close(read_image(path), expected)
    assert read_size(path) == expected.shape[1::-1]
    with PillowImage.open(path) as photo:
        assert_close(as_image(photo), expected)


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("broken", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40, b"Exof\0\0MM\0*"])
def test_broken_exif_is_taken_as_upright(broken, format_):
    stored = encoded(PillowImage.fromarray(quadrants()), format_, exif=broken, **FINE_JPEG)
    assert_close(read_image(stored), quadrants(), 6)


def test_gray_palette_and_cmyk_become_rgb():
    photo = PillowImage.fromarray(quadrants())
    gray = photo.convert("L")
    assert_close(read_image(encoded(gray, "PNG")), np.repeat(np.asarray(gray)[:, :, None], 3, axis=2))
    assert_close(read_image(encoded(photo.quantize(4), "PNG")), quadrants())
    assert_close(read_image(encoded(photo.convert("CMYK"), "TIFF")), quadrants(), 1)
    assert_close(read_image(encoded(photo.convert("CMYK"), "JPEG", **FINE_JPEG)), quadrants(), 6)
    black_and_white = gray.point(lambda value: 255 * (value > 100), mode="1")
    assert set(np.unique(read_image(encoded(black_and_white, "PNG")).pixels)) == {0, 255}


def test_16_bits_are_scaled_not_clipped():
    values = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xABCD, 0xFFFF]], np.uint16)
    expected = np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    assert_close(read_image(encoded(PillowImage.fromarray(values), "PNG")), expected)
    assert_close(read_image(encoded(PillowImage.fromarray(values), "TIFF")), expected)
    assert_close(read_image(b"P5 4 2 65535\n" + values.astype(">u2").tobytes()), expected)
    color = (np.arange(2 * 4 * 3, dtype=np.uint16) * 2800).reshape(2, 4, 3)
    assert_close(read_image(png(2, 16, 4, 2, color.astype(">u2").tobytes())), (color >> 8).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_gray_has_no_known_range(dtype):
    stored = encoded(PillowImage.fromarray(np.full((4, 5), 70_000, dtype)), "TIFF")
    assert error_of(stored, name="depth.tif").startswith("depth.tif: has 32-bit gray of unknown range")


def test_transparency_is_laid_on_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 51, 255)
    expected = np.array([[[255] * 3, [204] * 3, [0] * 3]], np.uint8)
    assert_close(read_image(encoded(PillowImage.fromarray(pixels), "PNG")), expected)
    gray_and_alpha = PillowImage.fromarray(pixels).convert("LA")
    assert_close(read_image(encoded(gray_and_alpha, "PNG")), expected)
    palette = PillowImage.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([9, 9, 9, 7, 7, 7])
    expected = np.array([[[255] * 3, [7] * 3]], np.uint8)
    assert_close(read_image(encoded(palette, "PNG", transparency=0)), expected)
    assert_close(read_image(encoded(palette, "GIF", transparency=0)), expected)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_yields_its_first_frame(format_):
    first = PillowImage.fromarray(quadrants())
    second = PillowImage.new("RGB", first.size, "white")
    options = {"lossless": True} if format_ == "WEBP" else {}
    stored = encoded(first, format_, save_all=True, append_images=[second], **options)
    assert_close(read_image(stored), quadrants())


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (10_000, 6_000)])
def test_extreme_shapes(size):
    image = read_image(encoded(PillowImage.new("1", size, 1), "PNG", compress_level=1))
    assert image.pixels.shape == (size[1], size[0], 3)
    assert image.pixels[-1, -1].tolist() == [255, 255, 255]


def test_pillows_lower_limit_does_not_warn(recwarn, monkeypatch):
    """Pillow warns from 89 megapixels on (here from 2000 pixels), although they are allowed."""
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 2000)
    assert_close(read_image(encoded(PillowImage.fromarray(quadrants()), "PNG")), quadrants())
    assert not recwarn.list


@pytest.mark.parametrize("side", [13_000, 60_000])
def test_decompression_bombs_are_refused(side):
    """Refused by their header, without decoding pixels: just over the limit, and far over it."""
    stored = png(0, 8, side, side, b"\0" * side)
    assert error_of(stored, name="bomb.png").startswith("bomb.png: larger than the limit of 150 megapixels")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000"])
def test_truncated_photos(format_, photos, tmp_path):
    with PillowImage.open(photos / "cat.jpg") as photo:
        stored = encoded(photo, format_)
    path = tmp_path / "cut.bin"
    for length in (1, 3, 20, 200, len(stored) * 2 // 3):
        path.write_bytes(stored[:length])
        message = error_of(path)
        assert message.startswith(f"{path}: ")
        assert "damaged or cut short" in message or "not a photo" in message


def test_damaged_photos_never_raise_anything_else(photos):
    """With a random byte changed: a photo or an `InputError`."""
    random = np.random.default_rng(0)
    with PillowImage.open(photos / "cat.jpg") as photo:
        small = photo.resize((40, 30))
    outcomes = set()
    for format_ in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000"):
        original = encoded(small, format_)
        for _ in range(60):
            data = bytearray(original)
            data[random.integers(min(len(data), 120))] = random.integers(256)
            try:
                outcomes.add(read_image(bytes(data)).name)
            except InputError as error:
                outcomes.add(f"{len(str(error).splitlines())} line")
    assert outcomes == {"<bytes>", "1 line"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"This is a text.\n" * 100, "not a photo in a known format; convert it to JPEG or PNG"),
        (b"\0" * 5000, "not a photo in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a photo in a known format"),
    ],
    ids=["empty", "text", "zeros", "eps"],
)
def test_files_that_are_not_photos(content, words, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    assert error_of(str(path)).startswith(f"{path}: {words}")
    assert error_of(content, name="upload").startswith(f"upload: {words}")


def test_paths_that_cannot_be_opened(tmp_path, monkeypatch):
    assert error_of(tmp_path / "none.jpg") == f"{tmp_path / 'none.jpg'}: no such file; check the path"
    assert error_of(tmp_path) == f"{tmp_path}: is a folder; give a photo in it"
    assert "cannot be opened" in error_of("a\0b.jpg")
    assert "cannot be opened" in error_of("x" * 300 + ".jpg")

    def denied(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # chmod would not stop root
    assert error_of("secret.jpg") == "secret.jpg: no permission to read it; check the access rights"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    source = tmp_path / "photo.png"
    PillowImage.fromarray(quadrants()).save(source)
    with subprocess.Popen(["sh", "-c", f"cat '{source}' > '{path}'"]):
        assert_close(read_image(path), quadrants())


def test_bytes_and_streams(tmp_path):
    stored = encoded(PillowImage.fromarray(quadrants()), "PNG")
    assert read_image(stored).name == "<bytes>"
    assert_close(read_image(bytearray(stored), name="upload"), quadrants())
    assert_close(read_image(io.BytesIO(stored)), quadrants())
    path = tmp_path / "photo.png"
    path.write_bytes(stored)
    with path.open("rb") as file:
        image = read_image(file)
    assert_close(image, quadrants())
    assert image.name == str(path)
    path.write_text("text")
    with path.open() as file, pytest.raises(InputError, match="binary mode"):
        read_image(file)
    with pytest.raises(InputError, match="cannot read a photo from int"):
        as_image(3)


def test_arrays_need_the_order_of_their_channels():
    pixels = quadrants()
    rgb = as_image(pixels, "RGB")
    assert rgb.pixels is pixels or np.shares_memory(rgb.pixels, pixels)
    assert_close(rgb, pixels)
    assert_close(as_image(np.ascontiguousarray(pixels[:, :, ::-1]), "BGR"), pixels)
    assert_close(as_image(pixels[:, ::2], "RGB"), pixels[:, ::2])
    assert_close(as_image(pixels[:, :, 1]), np.repeat(pixels[:, :, 1:2], 3, axis=2))
    message = error_of(pixels)
    assert 'channels="RGB"' in message
    assert '"BGR"' in message
    assert "channels 'bgr' is unknown; do you mean 'BGR'?" in error_of(pixels, "bgr")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 3), np.float32), "dtype is float32; give uint8, values 0 to 255; from 0..1: "),
        (np.zeros((4, 5, 3), np.uint16), "dtype is uint16; give uint8"),
        (np.zeros((4, 5), bool), "dtype is bool; give uint8"),
        (np.zeros((4, 5, 3), object), "dtype is object; give uint8"),
        (np.zeros((0, 5, 3), np.uint8), "the array is empty"),
        (np.zeros((4, 5, 4), np.uint8), "drop the transparency with array[:, :, :3]"),
        (np.zeros((3, 4, 5), np.uint8), "put the channels last with array.transpose(1, 2, 0)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "as a list"),
        (np.zeros(5, np.uint8), "shape is (5,)"),
    ],
)
def test_arrays_of_other_kinds(array, words):
    assert words in error_of(array, "RGB")


def test_pillow_images():
    photo = PillowImage.fromarray(quadrants())
    assert_close(as_image(photo), quadrants())
    assert_close(as_image(photo.convert("RGBA")), quadrants())
    cut = PillowImage.open(io.BytesIO(encoded(photo, "PNG")[:-40]))
    assert "damaged or cut short" in error_of(cut)
    assert "32-bit gray of unknown range" in error_of(PillowImage.new("F", (4, 4)))
    assert "pixels are uint8 (5, 0, 3)" in error_of(PillowImage.new("RGB", (0, 5)))


def test_an_image_is_returned_unchanged_and_checks_its_pixels():
    image = as_image(quadrants(), "RGB", name="mine")
    assert as_image(image) is image
    assert image.name == "mine"
    with pytest.raises(InputError, match="float64"):
        Image(np.zeros((4, 5, 3)), "x")
    with pytest.raises(InputError, match="contiguous"):
        Image(quadrants()[:, ::2], "x")


def test_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(quadrants()).permute(2, 0, 1)
    assert_close(as_image(tensor), quadrants())
    assert_close(as_image(tensor.float() / 255), quadrants())
    assert_close(as_image(tensor.double().div(255).requires_grad_()), quadrants())
    assert_close(as_image(tensor.to(torch.bfloat16) / 255), quadrants(), 1)
    for bad, words in [
        (tensor.float(), "values from 20 to 200; give 0 to 1"),
        (tensor.float() / 255 - 0.5, "not normalized"),
        (torch.full((3, 4, 5), torch.nan), "values from nan"),
        (tensor.int(), "dtype is torch.int32"),
        (tensor[None], "list of tensors"),
        (tensor.permute(1, 2, 0), "shape is (32, 64, 3); a torch tensor is (3, H, W) RGB"),
        (tensor[:, :0], "shape is (3, 0, 64)"),
    ]:
        assert words in error_of(bad)
    assert "flip(0)" in error_of(tensor, "BGR")


def test_a_header_that_asks_for_more_than_the_file_has(tmp_path: Path):
    """A JPEG 2000 box with a length of 4 GB: the reader allocates nothing of that size."""
    path = tmp_path / "a.jp2"
    path.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \xff\0\0\x2djp2h" + bytes(3000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.jp2: "):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_running_out_of_memory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(self: object) -> None:
        raise MemoryError

    PillowImage.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(InputError, match=r"a\.png: not enough memory to decode it; make it smaller first"):
        read_image(tmp_path / "a.png")
