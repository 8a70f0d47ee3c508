import io
import multiprocessing
import threading
from collections.abc import Iterator
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


class Tiny:
    """A proposer whose box is as wide as the first pixel says; counts its calls."""

    def __init__(self, fingerprint: str = "tiny") -> None:
        self.fingerprint = fingerprint
        self._seen: list[int] = []  # appended to: several threads may call

    @property
    def calls(self) -> int:
        return len(self._seen)

    def __call__(self, image: np.ndarray) -> Proposals:
        self._seen.append(int(image[0, 0, 0]))
        height, width = image.shape[:2]
        box = np.array([[0, 0, 1 + int(image[0, 0, 0]), height]], np.float32)
        return Proposals(box, np.ones(1, np.float32), np.zeros(1, np.int16), ("tiny",), (width, height))


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def never(content: bytes) -> np.ndarray:
    raise AssertionError("the image was decoded although its proposals are in the cache")


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), (number, number, number)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six pictures; the number of each is the width of its box less one."""
    paths = [tmp_path / "pictures" / f"{number}.png" for number in range(6)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        path.write_bytes(picture(number))
    return paths


def widths(results: list[FileProposals]) -> list[int | None]:
    return [None if r.proposals is None else int(r.proposals.boxes[0, 2]) for r in results]


def kept(folder: Path) -> list[str]:
    """The endings of all files in a folder: entries of a cache, or what else was left there."""
    return [path.suffix for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("as_text", [False, True])
def test_proposals_of_each_file(files: list[Path], as_text: bool) -> None:
    results = list(propose_files(map(str, files) if as_text else files, Tiny(), decode))
    assert [result.path for result in results] == files
    assert widths(results) == [1, 2, 3, 4, 5, 6]
    assert all(result.error is None and result.seconds > 0 for result in results)


def test_no_files_give_no_results() -> None:
    assert list(propose_files([], Tiny(), decode)) == []


def test_the_results_are_those_of_the_proposer(photos: Path, photo: np.ndarray) -> None:
    search = proposals.SelectiveSearch()  # imported here: the processes below do without the engine
    (result,) = propose_files([photos / "cat.jpg"], search, decode)
    expected = search(photo)
    assert result.proposals is not None
    np.testing.assert_array_equal(result.proposals.boxes, expected.boxes)
    np.testing.assert_array_equal(result.proposals.scores, expected.scores)
    np.testing.assert_array_equal(result.proposals.sources, expected.sources)
    assert result.proposals.source_names == expected.source_names


def test_results_keep_the_order_whichever_is_done_first(files: list[Path]) -> None:
    """The first image is only decoded after the third."""
    third_done = threading.Event()

    def third_before_first(content: bytes) -> np.ndarray:
        image = decode(content)
        if image[0, 0, 0] == 0:
            assert third_done.wait(timeout=30)
        if image[0, 0, 0] == 2:
            third_done.set()
        return image

    results = list(propose_files(files, Tiny(), third_before_first, workers=2))
    assert [result.path for result in results] == files
    assert widths(results) == [1, 2, 3, 4, 5, 6]


def test_workers_work_at_the_same_time(files: list[Path]) -> None:
    meeting = threading.Barrier(3)

    def together(content: bytes) -> np.ndarray:
        meeting.wait(timeout=30)
        return decode(content)

    assert widths(list(propose_files(files, Tiny(), together, workers=3))) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("with_cache", [False, True])
def test_a_bad_file_is_an_error_and_the_others_go_on(
    files: list[Path], tmp_path: Path, workers: int, with_cache: bool
) -> None:
    text, cut, missing = tmp_path / "text.jpg", tmp_path / "cut.png", tmp_path / "missing.png"
    text.write_text("hello")
    cut.write_bytes(picture(9)[:60])
    paths: list[str | Path] = [files[0], text, cut, files[1], missing, tmp_path, "no\0path", files[2]]
    cache = tmp_path / "cache" if with_cache else None
    results = list(propose_files(paths, Tiny(), decode, workers=workers, cache=cache))
    assert [result.path for result in results] == [Path(path) for path in paths]
    assert widths(results) == [1, None, None, 2, None, None, None, 3]
    errors = [result.error for result in results]
    assert errors[4] == "No such file or directory"
    assert errors[5] == "Is a directory"
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
def test_a_decoder_may_raise_anything(
    files: list[Path], tmp_path: Path, error: Exception, line: str, with_cache: bool
) -> None:
    def broken(content: bytes) -> np.ndarray:
        raise error

    cache = tmp_path / "cache" if with_cache else None
    assert [result.error for result in propose_files(files[:2], Tiny(), broken, cache=cache)] == [line, line]
    assert kept(tmp_path / "cache") == []


@pytest.mark.parametrize("error", [ValueError("too\nlarge"), MemoryError("too large")])
def test_an_image_that_the_proposer_cannot_process_is_an_error(files: list[Path], error: Exception) -> None:
    class Picky(Tiny):
        def __call__(self, image: np.ndarray) -> Proposals:
            if image[0, 0, 0] == 1:
                raise error
            return super().__call__(image)

    results = list(propose_files(files[:3], Picky(), decode))
    assert widths(results) == [1, None, 3]
    assert results[1].error == "too large"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_in_the_proposer_is_not_hidden(files: list[Path], workers: int) -> None:
    class Buggy(Tiny):
        def __call__(self, image: np.ndarray) -> Proposals:
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        list(propose_files(files, Buggy(), decode, workers=workers))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_second_run_takes_all_from_the_cache(files: list[Path], tmp_path: Path, workers: int) -> None:
    proposer = Tiny()
    cache = tmp_path / "new" / "cache"
    first = list(propose_files(files, proposer, decode, workers=workers, cache=cache))
    second = list(propose_files(files, proposer, never, workers=workers, cache=str(cache)))
    assert proposer.calls == 6
    assert widths(second) == widths(first) == [1, 2, 3, 4, 5, 6]
    assert [result.path for result in second] == files
    assert all(result.seconds > 0 for result in first)
    assert all(result.seconds == 0 for result in second)
    assert kept(cache) == [".npz"] * 6


def test_other_settings_do_not_meet_the_entries(files: list[Path], tmp_path: Path) -> None:
    list(propose_files(files, Tiny("one"), decode, cache=tmp_path / "cache"))
    other = Tiny("two")
    list(propose_files(files, other, decode, cache=tmp_path / "cache"))
    assert other.calls == 6


def test_bad_files_are_tried_again(files: list[Path], tmp_path: Path) -> None:
    late = tmp_path / "late.png"
    paths = [files[0], late]
    proposer = Tiny()
    assert widths(list(propose_files(paths, proposer, decode, cache=tmp_path / "cache"))) == [1, None]
    late.write_bytes(picture(7))
    assert widths(list(propose_files(paths, proposer, decode, cache=tmp_path / "cache"))) == [1, 8]
    assert proposer.calls == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_ends_it_and_the_next_run_goes_on(files: list[Path], tmp_path: Path, workers: int) -> None:
    proposer = Tiny()
    cache = tmp_path / "cache"

    def interrupted_at_3(content: bytes) -> np.ndarray:
        image = decode(content)
        if image[0, 0, 0] == 3:
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt):
        list(propose_files(files, proposer, interrupted_at_3, workers=workers, cache=cache))
    done = proposer.calls
    assert done >= 3
    assert kept(cache) == [".npz"] * done, "what is done is kept, nothing is half-written"
    assert widths(list(propose_files(files, proposer, decode, workers=workers, cache=cache))) == [1, 2, 3, 4, 5, 6]
    assert proposer.calls == 6


def many(path: Path, taken: list[int], count: int) -> Iterator[Path]:
    for number in range(count):
        taken.append(number)
        yield path


@pytest.mark.parametrize("workers", [1, 2])
def test_files_are_taken_up_only_a_few_ahead(files: list[Path], workers: int) -> None:
    """The list of files may be endless; who stops early has not waited for them."""
    taken: list[int] = []
    results = propose_files(many(files[0], taken, 10**9), Tiny(), decode, workers=workers)
    assert taken == []
    for number, _ in enumerate(results):
        assert len(taken) <= number + 1 + 8 * workers
        assert len(taken) >= number + workers, "all workers are kept busy"
        if number == 20:
            break
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 50


def test_stopping_early_leaves_the_waiting_images_out(files: list[Path]) -> None:
    proposer = Tiny()
    blocked, seen = threading.Event(), []

    def wait_after_first(content: bytes) -> np.ndarray:
        seen.append(content)
        if len(seen) > 1:
            assert blocked.wait(timeout=30)
        return decode(content)

    results = propose_files(files, proposer, wait_after_first)
    next(results)
    threading.Timer(0.2, blocked.set).start()
    results.close()  # type: ignore[attr-defined]
    assert proposer.calls == len(seen) <= 2, "the image in work is ended, those that wait are not begun"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_that_cannot_be_written_ends_it(files: list[Path], tmp_path: Path, workers: int) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        list(propose_files(files, Tiny(), decode, workers=workers, cache=tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("workers", [0, -1])
def test_less_than_one_worker_is_refused(files: list[Path], workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers must be at least 1, not {workers}"):
        list(propose_files(files, Tiny(), decode, workers=workers))


def test_processes_give_the_same_as_threads(files: list[Path], tmp_path: Path) -> None:
    """Good and bad files, and a cache."""
    (tmp_path / "text.jpg").write_text("hello")
    paths = [*files[:3], tmp_path / "text.jpg", tmp_path / "missing.png", *files[3:]]
    proposer, cache = Tiny(), tmp_path / "cache"
    from_processes = list(propose_files(paths, proposer, decode, workers=2, processes=True, cache=cache))
    assert proposer.calls == 0, "the calls were in other processes"
    from_threads = list(propose_files(paths, Tiny(), decode, workers=2))
    assert [r.path for r in from_processes] == [r.path for r in from_threads] == paths
    assert [r.error and r.error.split(" <")[0] for r in from_processes] == [
        r.error and r.error.split(" <")[0] for r in from_threads
    ]
    for one, other in zip(from_processes, from_threads, strict=True):
        assert (one.proposals is None) == (other.proposals is None)
        if one.proposals is not None and other.proposals is not None:
            np.testing.assert_array_equal(one.proposals.boxes, other.proposals.boxes)
            assert one.proposals.source_names == other.proposals.source_names
            assert one.seconds > 0
    list(propose_files(files, proposer, never, cache=cache))
    assert kept(cache) == [".npz"] * 6


class Meeting:
    """Decodes an image once all the processes have come to it: none of them finds it in the cache."""

    def __init__(self, barrier: Barrier) -> None:
        self.barrier = barrier

    def __call__(self, content: bytes) -> np.ndarray:
        self.barrier.wait(timeout=60)
        return decode(content)


def fill(files: list[Path], cache: Path, barrier: Barrier, answers: "Queue[Any]") -> None:
    answers.put(widths(list(propose_files(files, Tiny(), Meeting(barrier), cache=cache))))


def test_two_processes_may_fill_one_cache(files: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers, cache = context.Barrier(2), context.Queue(), tmp_path / "cache"
    processes = [context.Process(target=fill, args=(files, cache, barrier, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        found = [answers.get(timeout=120) for _ in processes]
    finally:
        barrier.abort()
        for process in processes:
            process.join()
    assert found == [[1, 2, 3, 4, 5, 6]] * 2
    assert widths(list(propose_files(files, Tiny(), never, cache=cache))) == [1, 2, 3, 4, 5, 6]
    assert kept(cache) == [".npz"] * 6
