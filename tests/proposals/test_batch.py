import io
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
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
    """A proposer whose box is one pixel wider than the first pixel's value; counts its calls."""

    def __init__(self, fingerprint: str = "tiny", error: Exception | None = None) -> None:
        self.fingerprint = fingerprint
        self.error = error  # raised for the image 1
        self._values: list[int] = []  # list.append is safe between threads

    @property
    def calls(self) -> int:
        return len(self._values)

    def __call__(self, image: np.ndarray) -> Proposals:
        value = int(image[0, 0, 0])
        if self.error is not None and value == 1:
            raise self.error
        self._values.append(value)
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


@pytest.mark.parametrize("as_text", [False, True])
def test_proposals_of_every_file(files: list[Path], as_text: bool) -> None:
    results = run(map(str, files) if as_text else files)
    assert [result.path for result in results] == files
    assert widths(results) == WIDTHS
    assert all(result.error is None and result.seconds > 0 for result in results)
    assert run([]) == []


def test_results_equal_the_proposers(photos: Path, photo: np.ndarray, assert_equal: Callable) -> None:
    search = proposals.SelectiveSearch()
    (result,) = propose_files([photos / "cat.jpg"], search, decode)
    assert_equal(result.proposals, search(photo))


def test_results_are_in_input_order(files: list[Path]) -> None:
    """The first image is decoded only after the third."""
    third_done = threading.Event()

    def third_before_first(content: bytes) -> np.ndarray:
        image = decode(content)
        if image[0, 0, 0] == 0:
            assert third_done.wait(timeout=30)
        if image[0, 0, 0] == 2:
            third_done.set()
        return image

    results = run(files, read=third_before_first, workers=2)
    assert [result.path for result in results] == files
    assert widths(results) == WIDTHS


def test_workers_run_at_the_same_time(files: list[Path]) -> None:
    barrier = threading.Barrier(3)

    def wait_for_others(content: bytes) -> np.ndarray:
        barrier.wait(timeout=30)
        return decode(content)

    assert widths(run(files, read=wait_for_others, workers=3)) == WIDTHS


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("with_cache", [False, True])
def test_bad_files_give_errors_and_the_rest_continue(
    files: list[Path], tmp_path: Path, workers: int, with_cache: bool
) -> None:
    text, cut, missing = tmp_path / "text.jpg", tmp_path / "cut.png", tmp_path / "missing.png"
    text.write_text("hello")
    cut.write_bytes(picture(9)[:60])
    paths: list[str | Path] = [files[0], text, cut, files[1], missing, tmp_path, "no\0path", files[2]]
    results = run(paths, workers=workers, cache=tmp_path / "cache" if with_cache else None)
    assert [result.path for result in results] == [Path(path) for path in paths]
    assert widths(results) == [1, None, None, 2, None, None, None, 3]
    errors = [result.error for result in results]
    assert errors[4:6] == ["No such file or directory", "Is a directory"]
    assert "cannot identify image file" in (errors[1] or "")
    for result in results:
        assert (result.error is None) == (result.proposals is not None)
        if result.error is not None:
            assert result.error.strip()
            assert "\n" not in result.error
            assert result.seconds == 0


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
    results = run(files[:3], Tiny(error=error))
    assert widths(results) == [1, None, 3]
    assert results[1].error == "too large"


@pytest.mark.parametrize("workers", [1, 2])
def test_other_errors_of_the_proposer_are_raised(files: list[Path], workers: int) -> None:
    with pytest.raises(TypeError, match="a bug"):
        run(files, Tiny(error=TypeError("a bug")), workers=workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_second_run_uses_the_cache(files: list[Path], tmp_path: Path, workers: int) -> None:
    proposer, cache = Tiny(), tmp_path / "new" / "cache"
    first = run(files, proposer, workers=workers, cache=cache)
    second = run(files, proposer, unused, workers=workers, cache=str(cache))
    assert proposer.calls == 6
    assert widths(second) == widths(first) == WIDTHS
    assert [result.path for result in second] == files
    assert all(result.seconds > 0 for result in first)
    assert all(result.seconds == 0 for result in second)
    assert suffixes(cache) == [".npz"] * 6
    other = Tiny("other settings")
    run(files, other, cache=cache)
    assert other.calls == 6


def test_bad_files_are_tried_again(files: list[Path], tmp_path: Path) -> None:
    late = tmp_path / "late.png"
    proposer = Tiny()
    assert widths(run([files[0], late], proposer, cache=tmp_path / "cache")) == [1, None]
    late.write_bytes(picture(7))
    assert widths(run([files[0], late], proposer, cache=tmp_path / "cache")) == [1, 8]
    assert proposer.calls == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_run_can_be_resumed(files: list[Path], tmp_path: Path, workers: int) -> None:
    proposer, cache = Tiny(), tmp_path / "cache"

    def interrupted(content: bytes) -> np.ndarray:
        image = decode(content)
        if image[0, 0, 0] == 3:
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt):
        run(files, proposer, interrupted, workers=workers, cache=cache)
    finished = proposer.calls
    assert finished >= 3
    assert suffixes(cache) == [".npz"] * finished, "finished entries are kept and no partial files are left"
    assert widths(run(files, proposer, workers=workers, cache=cache)) == WIDTHS
    assert proposer.calls == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_files_are_consumed_only_a_few_ahead(files: list[Path], workers: int) -> None:
    consumed: list[int] = []

    def endless() -> Iterator[Path]:
        while True:
            consumed.append(0)
            yield files[0]

    results = propose_files(endless(), Tiny(), decode, workers=workers)
    assert consumed == []
    for number, _ in enumerate(results):
        assert number + workers <= len(consumed) <= number + 1 + 8 * workers
        if number == 20:
            break
    results.close()  # type: ignore[attr-defined]
    assert len(consumed) < 50


def test_closing_cancels_pending_images(files: list[Path]) -> None:
    proposer, blocked, decoded = Tiny(), threading.Event(), []

    def wait_after_first(content: bytes) -> np.ndarray:
        decoded.append(content)
        if len(decoded) > 1:
            assert blocked.wait(timeout=30)
        return decode(content)

    results = propose_files(files, proposer, wait_after_first)
    next(results)
    threading.Timer(0.2, blocked.set).start()
    results.close()  # type: ignore[attr-defined]
    assert proposer.calls == len(decoded) <= 2, "the running image is finished and pending ones are not started"


@pytest.mark.parametrize("workers", [1, 2])
def test_unwritable_cache_is_an_error(files: list[Path], tmp_path: Path, workers: int) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(OSError, match="file"):
        run(files, workers=workers, cache=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "content"


def test_invalid_arguments(files: list[Path]) -> None:
    with pytest.raises(ValueError, match=r"workers .* not 0"):
        run(files, workers=0)
    with pytest.raises(ValueError, match=r"files .*0\.png"):
        run(files[0])


def test_processes_give_the_same_results(files: list[Path], tmp_path: Path, assert_equal: Callable) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    paths = [*files[:3], tmp_path / "text.jpg", tmp_path / "missing.png", *files[3:]]
    proposer, cache = Tiny(), tmp_path / "cache"
    from_processes = run(paths, proposer, workers=2, processes=True, cache=cache)
    assert proposer.calls == 0, "the calls were in other processes"
    for result, expected in zip(from_processes, run(paths), strict=True):
        assert result.path == expected.path
        assert (result.error or "").split(" <")[0] == (expected.error or "").split(" <")[0]
        assert (result.proposals is None) == (expected.proposals is None)
        if expected.proposals is not None:
            assert_equal(result.proposals, expected.proposals)
            assert result.seconds > 0
    run(files, proposer, unused, cache=cache)
    assert suffixes(cache) == [".npz"] * 6


class WaitForOthers:
    """Decodes an image once all processes have reached it, so that none finds it in the cache."""

    def __init__(self, barrier: Barrier) -> None:
        self.barrier = barrier

    def __call__(self, content: bytes) -> np.ndarray:
        self.barrier.wait(timeout=60)
        return decode(content)


def fill(files: list[Path], cache: Path, barrier: Barrier, answers: "Queue[Any]") -> None:
    answers.put(widths(run(files, read=WaitForOthers(barrier), cache=cache)))


def test_two_processes_may_fill_one_cache(files: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers, cache = context.Barrier(2), context.Queue(), tmp_path / "cache"
    processes = [context.Process(target=fill, args=(files, cache, barrier, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        assert [answers.get(timeout=120) for _ in processes] == [WIDTHS] * 2
    finally:
        barrier.abort()
        for process in processes:
            process.join()
    assert widths(run(files, read=unused, cache=cache)) == WIDTHS
    assert suffixes(cache) == [".npz"] * 6
