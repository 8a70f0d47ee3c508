import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from proposals import Proposals, export_proposals
from proposals.export import EXPORT_FORMATS

Named = tuple[str, Proposals]


def make(count: int, source_names: tuple[str, ...] = ("a",), size: tuple[int, int] = (60, 40)) -> Proposals:
    """Boxes with fractional corners, from each of the sources in turn."""
    random = np.random.default_rng(count)
    corners = random.uniform(0, 19, (count, 2))
    boxes = np.concatenate((corners, corners + random.uniform(1, 20, (count, 2))), axis=1).astype(np.float32)
    scores = np.sort(random.random(count))[::-1].astype(np.float32)
    return Proposals(boxes, scores, (np.arange(count) % len(source_names)).astype(np.int16), source_names, size)


@pytest.fixture
def items() -> list[Named]:
    """Three images; the second has no boxes, the third another method that shares a source."""
    return [
        ("photos/000000000139.jpg", make(5, ("a", "b", "c"))),
        ("285.png", make(0, ("a",), (7, 9))),
        ("dir/72.jpg", make(3, ("d", "b"), (100, 50))),
    ]


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_npz(tmp_path: Path, items: list[Named]) -> None:
    export_proposals(tmp_path / "boxes.npz", iter(items))
    with np.load(tmp_path / "boxes.npz", allow_pickle=False) as content:
        data = dict(content)
    expected = {"names", "image_sizes", "starts", "boxes", "scores", "sources", "source_names", "fingerprint"}
    assert set(data) == expected
    assert data["names"].tolist() == [name for name, _ in items]
    assert data["image_sizes"].tolist() == [[60, 40], [7, 9], [100, 50]]
    assert data["starts"].tolist() == [0, 5, 5, 8]
    assert sorted(data["source_names"].tolist()) == ["a", "b", "c", "d"]
    assert [data[name].dtype for name in ("boxes", "scores", "sources")] == [np.float32, np.float32, np.int16]
    for i, (_, proposals) in enumerate(items):
        rows = slice(data["starts"][i], data["starts"][i + 1])
        np.testing.assert_array_equal(data["boxes"][rows], proposals.boxes)
        np.testing.assert_array_equal(data["scores"][rows], proposals.scores)
        names = data["source_names"][data["sources"][rows]].tolist()
        assert names == [proposals.source_names[source] for source in proposals.sources]
    assert files(tmp_path) == ["boxes.npz"]


def test_jsonl(tmp_path: Path, items: list[Named]) -> None:
    export_proposals(tmp_path / "boxes.jsonl", iter(items))
    lines = (tmp_path / "boxes.jsonl").read_text().splitlines()
    for line, (name, proposals) in zip(map(json.loads, lines), items, strict=True):
        np.testing.assert_allclose(np.reshape(line.pop("boxes"), (-1, 4)), proposals.boxes, atol=0.00501, rtol=0)
        np.testing.assert_allclose(line.pop("scores"), proposals.scores, atol=5.1e-7, rtol=0)
        width, height = proposals.image_size
        assert line == {
            "image": name,
            "width": width,
            "height": height,
            "sources": proposals.sources.tolist(),
            "source_names": list(proposals.source_names),
        }
    assert files(tmp_path) == ["boxes.jsonl"]


def test_coco(tmp_path: Path, items: list[Named]) -> None:
    export_proposals(tmp_path / "boxes.json", iter(items))
    entries = json.loads((tmp_path / "boxes.json").read_text())
    assert [entry["image_id"] for entry in entries] == [139] * 5 + [72] * 3
    assert {entry["category_id"] for entry in entries} == {1}
    expected = np.concatenate([proposals.boxes for _, proposals in items]).astype(np.float64)
    x, y, width, height = np.array([entry["bbox"] for entry in entries]).T
    np.testing.assert_allclose(np.stack((x, y, x + width, y + height), axis=1), expected, rtol=1e-12)
    scores = np.concatenate([proposals.scores for _, proposals in items])
    np.testing.assert_allclose([entry["score"] for entry in entries], scores, atol=5.1e-7, rtol=0)
    assert files(tmp_path) == ["boxes.json"]


@pytest.mark.parametrize("name", ["cat.jpg", "-1.jpg", "²³.jpg", "٣.jpg", ""])
def test_coco_needs_numbers_as_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"number.*\.jsonl or \.npz") as caught:
        export_proposals(tmp_path / "boxes.json", [("1.jpg", make(2)), (name, make(1))])
    assert str(caught.value).startswith(f"{name}: ")
    assert files(tmp_path) == []


def test_coco_needs_distinct_numbers(tmp_path: Path) -> None:
    items = [("a/000139.jpg", make(0)), ("140.jpg", make(1)), ("b/139.png", make(1))]
    with pytest.raises(ValueError, match=r"b/139\.png: .* a/000139\.jpg"):
        export_proposals(tmp_path / "boxes.json", items)
    assert files(tmp_path) == []


FILES = [suffix for suffix in EXPORT_FORMATS if suffix and (suffix != ".mat" or importlib.util.find_spec("scipy"))]


@pytest.mark.parametrize("suffix", FILES)
def test_failure_keeps_an_earlier_file(tmp_path: Path, suffix: str) -> None:
    def fails_midway() -> Iterator[Named]:
        yield "1.jpg", make(50)
        raise KeyboardInterrupt

    path = tmp_path / f"boxes{suffix}"
    path.write_bytes(b"of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        export_proposals(path, fails_midway())
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"of an earlier run"]


@pytest.mark.parametrize("items", [[], [("1.jpg", make(0)), ("2.jpg", make(0))]])
def test_no_images_or_boxes(tmp_path: Path, items: list[Named]) -> None:
    for suffix in FILES:
        export_proposals(tmp_path / f"boxes{suffix}", items)
    assert json.loads((tmp_path / "boxes.json").read_text()) == []
    assert len((tmp_path / "boxes.jsonl").read_text().splitlines()) == len(items)
    with np.load(tmp_path / "boxes.npz", allow_pickle=False) as content:
        shapes = [content[name].shape for name in ("names", "image_sizes", "starts", "boxes", "scores", "sources")]
    n = len(items)
    assert shapes == [(n,), (n, 2), (n + 1,), (0, 4), (0,), (0,)]


@pytest.mark.parametrize("name", ["boxes.txt", "boxes.json.gz", ".npz"])
def test_unknown_suffix_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    def unused() -> Iterator[Named]:
        raise AssertionError("an image was requested")
        yield

    with pytest.raises(ValueError, match=r"\.npz, \.jsonl, \.json"):
        export_proposals(tmp_path / name, unused())
    assert files(tmp_path) == []
