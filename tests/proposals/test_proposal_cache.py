import io
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proposals import ProposalCache, Proposals, SelectiveSearch, SelectiveSearchConfig


class Counting:
    """A proposer that answers with one box and counts its calls."""

    def __init__(self, fingerprint: str = "a", scale: float = 1.0) -> None:
        self.fingerprint = fingerprint
        self.scale = scale
        self.calls = 0

    def __call__(self, image: np.ndarray) -> Proposals:
        self.calls += 1
        height, width = image.shape[:2]
        return Proposals(
            np.array([[0, 0, width, height], [0, 0, self.scale, 1]], np.float32),
            np.array([0.7, 0.1], np.float32),
            np.array([1, 0], np.int16),
            ("first", "sécond"),
            (width, height),
        )


def picture(color: int = 0, size: tuple[int, int] = (30, 20)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (color, color, color)).save(stream, "PNG")
    return stream.getvalue()


def decode(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def never() -> np.ndarray:
    raise AssertionError("the image was decoded although its proposals are in the cache")


def assert_equal(a: Proposals, b: Proposals) -> None:
    for name in ("boxes", "scores", "sources"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    assert (a.source_names, a.image_size) == (b.source_names, b.image_size)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_the_second_time_nothing_is_computed(tmp_path: Path, scale: float) -> None:
    proposer = Counting(scale=scale)
    cache = ProposalCache(tmp_path / "new" / "folder", proposer)
    content = picture()
    first = cache.get(content, lambda: cache.proposer(decode(content)))
    assert_equal(cache.get(content, never), first)
    assert_equal(ProposalCache(tmp_path / "new" / "folder", proposer).get(content, never), first)
    assert proposer.calls == 1
    assert_equal(first, proposer(decode(content)))


def test_a_real_result_comes_back_exactly(tmp_path: Path, photo: np.ndarray) -> None:
    search = SelectiveSearch(SelectiveSearchConfig(color_spaces=("Lab",)))
    cache = ProposalCache(tmp_path, search)
    assert_equal(cache.get(b"photo", lambda: cache.proposer(photo)), search(photo))
    assert_equal(cache.get(b"photo", never), search(photo))
    assert cache.path(b"photo").stat().st_size < 30 * len(search(photo))


def test_other_bytes_or_settings_have_other_entries(tmp_path: Path) -> None:
    one, two = Counting("a"), Counting("b")
    for proposer in (one, two):
        for content in (picture(0), picture(1)):
            ProposalCache(tmp_path, proposer).get(content, partial(proposer, decode(content)))
    assert (one.calls, two.calls) == (2, 2)
    assert len(list(tmp_path.rglob("*.npz"))) == 4


def bit_flip(entry: bytes) -> bytes:
    middle = len(entry) // 2
    return entry[:middle] + bytes([entry[middle] ^ 0xFF]) + entry[middle + 1 :]


def without_scores(entry: bytes) -> bytes:
    stream = io.BytesIO()
    with np.load(io.BytesIO(entry)) as content:
        np.savez(stream, **{name: content[name] for name in content.files if name != "scores"})
    return stream.getvalue()


def box_outside(entry: bytes) -> bytes:
    stream = io.BytesIO()
    with np.load(io.BytesIO(entry)) as content:
        np.savez(stream, **(dict(content) | {"boxes": content["boxes"] + np.uint16(10)}))
    return stream.getvalue()


def pickled(entry: bytes) -> bytes:
    stream = io.BytesIO()
    with np.load(io.BytesIO(entry)) as content:
        names = np.array(content["source_names"].tolist(), dtype=object)
        np.savez(stream, **(dict(content) | {"source_names": names}))
    return stream.getvalue()


def empty_zip(entry: bytes) -> bytes:
    stream = io.BytesIO()
    zipfile.ZipFile(stream, "w").close()
    return stream.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: b"",
        lambda entry: entry[: len(entry) // 2],
        lambda entry: entry[:-1],
        lambda entry: b"no zip file at all",
        bit_flip,
        without_scores,
        box_outside,
        pickled,
        empty_zip,
    ],
)
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    proposer = Counting()
    cache = ProposalCache(tmp_path, proposer)
    content = picture()
    first = cache.get(content, lambda: cache.proposer(decode(content)))
    path = cache.path(content)
    path.write_bytes(damage(path.read_bytes()))
    assert_equal(cache.get(content, lambda: cache.proposer(decode(content))), first)
    assert proposer.calls == 2
    assert_equal(cache.get(content, never), first)


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    proposer = Counting()
    cache = ProposalCache(tmp_path, proposer)
    content = picture()
    first = cache.get(content, lambda: cache.proposer(decode(content)))
    path = cache.path(content)
    entry = path.read_bytes()
    for position in range(0, len(entry), 7):
        path.write_bytes(entry[:position] + bytes([entry[position] ^ 0x55]) + entry[position + 1 :])
        assert_equal(cache.get(content, lambda: cache.proposer(decode(content))), first)


def test_two_threads_may_ask_for_the_same_image(tmp_path: Path) -> None:
    content = picture()
    meeting = threading.Barrier(2)

    def propose_together() -> Proposals:
        meeting.wait(timeout=30)  # both have found the cache empty before either writes
        return Counting()(decode(content))

    results: list[Proposals] = []
    caches = [ProposalCache(tmp_path, Counting()) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda cache=cache: results.append(cache.get(content, propose_together)))
        for cache in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert_equal(results[0], results[1])
    assert_equal(caches[0].get(content, never), results[0])
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".npz"]


def test_an_error_leaves_no_entry(tmp_path: Path) -> None:
    cache = ProposalCache(tmp_path, SelectiveSearch())
    with pytest.raises(ValueError, match="must be a numpy array"):
        cache.get(b"x", lambda: cache.proposer(None))  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
