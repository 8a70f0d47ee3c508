import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from proposals import ProposalCache, Proposals

Compare = Callable[[Proposals, Proposals], None]
IMAGE = np.zeros((20, 30, 3), np.uint8)


class Counting:
    """A proposer that returns two boxes and counts its calls."""

    def __init__(self, fingerprint: str = "a", side: float = 1.0) -> None:
        self.fingerprint, self.side, self.calls = fingerprint, side, 0

    def __call__(self, image: np.ndarray = IMAGE) -> Proposals:
        self.calls += 1
        return Proposals(
            np.array([[0, 0, 30, 20], [0, 0, self.side, 1]], np.float32),
            np.array([0.7, 0.1], np.float32),
            np.array([1, 0], np.int16),
            ("first", "sécond"),
            (30, 20),
        )


def unused() -> Proposals:
    raise AssertionError("the cache computed an entry that it has")


def files(folder: Path) -> list[str]:
    return [path.suffix for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("side", [1.0, 0.3])
def test_entries_are_computed_once(tmp_path: Path, side: float, assert_equal: Compare) -> None:
    proposer, folder = Counting(side=side), tmp_path / "new" / "folder"
    first = ProposalCache(folder, proposer).get(b"image", proposer)
    assert proposer.calls == 1
    cached = ProposalCache(folder, proposer).get(b"image", unused)
    for proposals in (first, cached):
        assert_equal(proposals, proposer())
        assert (proposals.boxes.dtype, proposals.sources.dtype) == (np.float32, np.int16)


def test_bytes_and_settings_are_part_of_the_key(tmp_path: Path) -> None:
    proposers = [Counting("a"), Counting("b")]
    for proposer in proposers:
        for content in (b"image", b"other image"):
            ProposalCache(tmp_path, proposer).get(content, proposer)
    assert [proposer.calls for proposer in proposers] == [2, 2]
    assert files(tmp_path) == [".npz"] * 4


def rewritten(entry: bytes, change: Callable[[dict[str, np.ndarray]], object]) -> bytes:
    with np.load(io.BytesIO(entry)) as content:
        arrays = dict(content)
    change(arrays)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
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
        lambda entry: b"not a zip file",
        empty_zip,
        lambda entry: rewritten(entry, lambda arrays: arrays.pop("scores")),
        lambda entry: rewritten(entry, lambda arrays: arrays.update(boxes=arrays["boxes"] + np.uint16(10))),
        lambda entry: rewritten(entry, lambda arrays: arrays.update(source_names=np.array(["a", "b"], object))),
    ],
)
def test_damaged_entries_are_computed_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], assert_equal: Compare
) -> None:
    proposer = Counting()
    cache = ProposalCache(tmp_path, proposer)
    first = cache.get(b"image", proposer)
    path = cache.path(b"image")
    path.write_bytes(damage(path.read_bytes()))
    assert_equal(cache.get(b"image", proposer), first)
    assert proposer.calls == 2
    assert_equal(cache.get(b"image", unused), first)
