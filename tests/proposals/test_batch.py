import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import proposals
from proposals import Proposals, propose_files
from proposals.batch import FileProposals

WIDTHS = [1, 2, 3, 4, 5, 6]


class Tiny:
    """A proposer whose box is one pixel wider than the first pixel's value; notes the values."""

    fingerprint = "tiny"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error  # raised for the image 1
        self.values: list[int] = []  # list.append is safe between threads

    def __call__(self, image: np.ndarray) -> Proposals:
        value = int(image[0, 0, 0])
        if self.error is not None and value == 1:
            raise self.error
        self.values.append(value)
        height, width = image.shape[:2]
        box = np.array([[0, 0, 1 + value, height]], np.float32)
        return Proposals(box, np.ones(1, np.float32), np.zeros(1, np.int16), ("tiny",), (width, height))


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def unused(content: bytes) -> np.ndarray:
    raise AssertionError("an image was decoded although the cache has its proposals")


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), (number, number, number)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six pictures, whose boxes are 1 to 6 pixels wide."""
    paths = [tmp_path / "pictures" / f"{number}.png" for number in range(6)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        path.write_bytes(picture(number))
    return paths


def run(files: Any, proposer: Tiny | None = None, read: Callable = decode, **settings: Any) -> list[FileProposals]:
    return list(propose_files(files, proposer or Tiny(), read, **settings))


def widths(results: list[FileProposals]) -> list[int | None]:
    return [None if r.proposals is None else int(r.proposals.boxes[0, 2]) for r in results]


def suffixes(folder: Path) -> list[str]:
    return [path.suffix for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("workers", [1, 3])
def test_proposals_of_every_file_in_input_order(files: list[Path], workers: int) -> None:
    results = run(map(str, files), workers=workers)
    assert [result.path for result in results] == files
    assert widths(results) == WIDTHS
    assert all(result.error is None and result.seconds > 0 for result in results)
    assert run([]) == []


def test_results_equal_the_proposers(photos: Path, photo: np.ndarray, assert_equal: Callable) -> None:
    search = proposals.SelectiveSearch()
    (result,) = propose_files([photos / "cat.jpg"], search, decode)
    assert_equal(result.proposals, search(photo))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("with_cache", [False, True])
def test_bad_files_give_errors_and_the_rest_continue(
    files: list[Path], tmp_path: Path, workers: int, with_cache: bool
) -> None:
    text, missing = tmp_path / "text.jpg", tmp_path / "missing.png"
    text.write_text("hello")
    paths: list[str | Path] = [files[0], text, files[1], missing, tmp_path, "no\0path", files[2]]
    results = run(paths, workers=workers, cache=tmp_path / "cache" if with_cache else None)
    assert [result.path for result in results] == [Path(path) for path in paths]
    assert widths(results) == [1, None, 2, None, None, None, 3]
    errors = [result.error for result in results]
    assert errors[3:5] == ["No such file or directory", "Is a directory"]
    assert "cannot identify image file" in (errors[1] or "")
    assert errors[5]
    assert [result.seconds for result in results if result.error] == [0] * 4


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (MemoryError(), "MemoryError"),
        (OSError(5, "broken stream"), "[Errno 5] broken stream"),
        (KeyError("tag"), "'tag'"),
    ],
)
@pytest.mark.parametrize("with_cache", [False, True])
def test_any_error_of_the_decoder_is_reported(
    files: list[Path], tmp_path: Path, error: Exception, line: str, with_cache: bool
) -> None:
    def broken(content: bytes) -> np.ndarray:
        raise error

    results = run(files[:2], read=broken, cache=tmp_path / "cache" if with_cache else None)
    assert [result.error for result in results] == [line, line]
    assert suffixes(tmp_path / "cache") == []


@pytest.mark.parametrize("error", [ValueError("too\nlarge"), MemoryError("too large")])
def test_image_errors_of_the_proposer_are_reported(files: list[Path], error: Exception) -> None:
    results = run(files[:3], Tiny(error))
    assert widths(results) == [1, None, 3]
    assert results[1].error == "too large"


@pytest.mark.parametrize("workers", [1, 2])
def test_other_errors_of_the_proposer_are_raised(files: list[Path], workers: int) -> None:
    with pytest.raises(TypeError, match="a bug"):
        run(files, Tiny(TypeError("a bug")), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_is_resumed_from_the_cache(files: list[Path], tmp_path: Path, workers: int) -> None:
    proposer, cache = Tiny(), tmp_path / "new" / "cache"

    def interrupted(content: bytes) -> np.ndarray:
        image = decode(content)
        if image[0, 0, 0] == 3:
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt):
        run(files, proposer, interrupted, workers=workers, cache=cache)
    finished = len(proposer.values)
    assert finished >= 3
    assert suffixes(cache) == [".npz"] * finished, "finished entries are kept and no partial files are left"
    assert widths(run(files, proposer, workers=workers, cache=str(cache))) == WIDTHS
    assert sorted(proposer.values) == list(range(6))
    again = run(files, proposer, unused, workers=workers, cache=cache)
    assert widths(again) == WIDTHS
    assert [result.seconds for result in again] == [0] * 6


def test_bad_files_are_tried_again(files: list[Path], tmp_path: Path) -> None:
    late = tmp_path / "late.png"
    assert widths(run([files[0], late], cache=tmp_path / "cache")) == [1, None]
    late.write_bytes(picture(7))
    assert widths(run([files[0], late], cache=tmp_path / "cache")) == [1, 8]


@pytest.mark.parametrize("workers", [1, 2])
def test_unwritable_cache_is_an_error(files: list[Path], tmp_path: Path, workers: int) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(OSError, match="file"):
        run(files, workers=workers, cache=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "content"


def test_a_single_path_is_refused(files: list[Path]) -> None:
    with pytest.raises(ValueError, match=r"files .*0\.png"):
        run(files[0])
