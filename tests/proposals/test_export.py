import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from proposals import Proposals, export_proposals
from proposals.export import EXPORT_FORMATS

Named = tuple[str, Proposals]


def make(count: int, source_names: tuple[str, ...] = ("a",), size: tuple[int, int] = (60, 40)) -> Proposals:
    """Boxes with corners in fractions of a pixel, from each of the sources in turn."""
    random = np.random.default_rng(count)
    corners = random.uniform(0, 19, (count, 2))
    boxes = np.concatenate((corners, corners + random.uniform(1, 20, (count, 2))), axis=1).astype(np.float32)
    scores = np.sort(random.random(count))[::-1].astype(np.float32)
    return Proposals(boxes, scores, (np.arange(count) % len(source_names)).astype(np.int16), source_names, size)


@pytest.fixture
def items() -> list[Named]:
    """Three images, the last of another method that shares a source; the second has no boxes."""
    return [
        ("photos/000000000139.jpg", make(5, ("a", "b", "c"))),
        ("285.png", make(0, ("a",), (7, 9))),
        ("dir/72.jpg", make(3, ("d", "b"), (100, 50))),
    ]


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_npz_has_every_image_its_rows(tmp_path: Path, items: list[Named]) -> None:
    export_proposals(tmp_path / "boxes.npz", iter(items))
    with np.load(tmp_path / "boxes.npz", allow_pickle=False) as content:
        data = dict(content)
    assert data["names"].tolist() == [name for name, _ in items]
    assert data["image_sizes"].tolist() == [[60, 40], [7, 9], [100, 50]]
    assert data["starts"].tolist() == [0, 5, 5, 8]
    assert sorted(data["source_names"].tolist()) == ["a", "b", "c", "d"], "one list for all, each name once"
    for i, (_, proposals) in enumerate(items):
        rows = slice(data["starts"][i], data["starts"][i + 1])
        np.testing.assert_array_equal(data["boxes"][rows], proposals.boxes)
        np.testing.assert_array_equal(data["scores"][rows], proposals.scores)
        found = data["source_names"][data["sources"][rows]]
        assert found.tolist() == [proposals.source_names[source] for source in proposals.sources]
    assert {name: data[name].dtype for name in ("boxes", "scores", "sources")} == {
        "boxes": np.float32,
        "scores": np.float32,
        "sources": np.int16,
    }
    assert set(data) == {"names", "image_sizes", "starts", "boxes", "scores", "sources", "source_names"}
    assert files(tmp_path) == ["boxes.npz"]


def test_jsonl_has_a_line_an_image(tmp_path: Path, items: list[Named]) -> None:
    export_proposals(tmp_path / "boxes.jsonl", iter(items))
    lines = (tmp_path / "boxes.jsonl").read_text().splitlines()
    assert len(lines) == 3
    for line, (name, proposals) in zip(map(json.loads, lines), items, strict=True):
        assert set(line) == {"image", "width", "height", "boxes", "scores", "sources", "source_names"}
        assert line["image"] == name
        assert (line["width"], line["height"]) == proposals.image_size
        np.testing.assert_allclose(np.reshape(line["boxes"], (-1, 4)), proposals.boxes, atol=0.00501, rtol=0)
        np.testing.assert_allclose(line["scores"], proposals.scores, atol=5.1e-7, rtol=0)
        assert line["sources"] == proposals.sources.tolist()
        assert line["source_names"] == list(proposals.source_names)
    assert files(tmp_path) == ["boxes.jsonl"]


def test_whole_numbers_stay_whole_and_short_ones_short(tmp_path: Path) -> None:
    boxes, scores = np.array([[0, 1, 30, 0.1 + 20]], np.float32), np.array([0.1], np.float32)
    proposals = Proposals(boxes, scores, np.zeros(1, np.int16), ("ä",), (60, 40))
    export_proposals(tmp_path / "boxes.jsonl", [("é\udcff.jpg", proposals)])
    text = (tmp_path / "boxes.jsonl").read_text(encoding="utf-8")
    assert '"boxes": [[0.0, 1.0, 30.0, 20.1]], "scores": [0.1]' in text
    assert json.loads(text)["image"] == "é\udcff.jpg", "names that are no valid text survive"
    assert json.loads(text)["source_names"] == ["ä"]


def test_coco_entries_are_as_its_tools_want_them(tmp_path: Path, items: list[Named]) -> None:
    export_proposals(tmp_path / "boxes.json", iter(items))
    entries = json.loads((tmp_path / "boxes.json").read_text())
    assert all(set(entry) == {"image_id", "category_id", "bbox", "score"} for entry in entries)
    assert all(type(entry[key]) is int for entry in entries for key in ("image_id", "category_id"))
    assert [entry["image_id"] for entry in entries] == [139] * 5 + [72] * 3
    assert {entry["category_id"] for entry in entries} == {1}
    given = np.concatenate([proposals.boxes for _, proposals in items]).astype(np.float64)
    x, y, width, height = np.array([entry["bbox"] for entry in entries]).T
    np.testing.assert_allclose(np.stack((x, y, x + width, y + height), axis=1), given, rtol=1e-12)
    assert (width > 0).all()
    assert (height > 0).all()
    scores = np.concatenate([proposals.scores for _, proposals in items])
    np.testing.assert_allclose([entry["score"] for entry in entries], scores, atol=5.1e-7, rtol=0)
    assert files(tmp_path) == ["boxes.json"]


def test_exporting_leaves_the_proposals_as_they_are(tmp_path: Path) -> None:
    for ending in EXPORT_FORMATS:
        proposals = make(4)
        export_proposals(tmp_path / f"boxes{ending}", [("1.jpg", proposals)])
        np.testing.assert_array_equal(proposals.boxes, make(4).boxes)


@pytest.mark.parametrize("name", ["cat.jpg", "12a.jpg", "-1.jpg", "1.5.jpg", "²³.jpg", "٣.jpg", ".jpg", ""])
def test_coco_refuses_a_name_that_is_no_number(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"needs files named by number; take \.jsonl or \.npz") as caught:
        export_proposals(tmp_path / "boxes.json", [("1.jpg", make(2)), (name, make(1))])
    assert str(caught.value).startswith(f"{name}: ")
    assert files(tmp_path) == []


def test_coco_refuses_a_number_that_comes_twice(tmp_path: Path) -> None:
    items = [("a/000139.jpg", make(0)), ("140.jpg", make(1)), ("b/139.png", make(1))]
    with pytest.raises(ValueError, match=r"b/139\.png: has the same number as a/000139\.jpg"):
        export_proposals(tmp_path / "boxes.json", items)
    assert files(tmp_path) == []
    export_proposals(tmp_path / "boxes.jsonl", items)
    assert files(tmp_path) == ["boxes.jsonl"]


def fails_midway(error: BaseException) -> Iterator[Named]:
    yield "1.jpg", make(50)
    yield "2.jpg", make(50)
    raise error


@pytest.mark.parametrize("ending", EXPORT_FORMATS)
@pytest.mark.parametrize("error", [ValueError("bad image"), KeyboardInterrupt()])
@pytest.mark.parametrize("earlier", [None, b"of an earlier run"])
def test_a_failure_midway_leaves_nothing_behind(
    tmp_path: Path, ending: str, error: BaseException, earlier: bytes | None
) -> None:
    """Neither a part of the file nor a temporary one; an earlier file stays."""
    path = tmp_path / f"boxes{ending}"
    if earlier is not None:
        path.write_bytes(earlier)
    with pytest.raises(type(error)):
        export_proposals(path, fails_midway(error))
    assert [found.read_bytes() for found in tmp_path.iterdir()] == ([] if earlier is None else [earlier])


def test_no_images_give_a_file_of_none(tmp_path: Path) -> None:
    for ending in EXPORT_FORMATS:
        export_proposals(tmp_path / f"boxes{ending}", [])
    assert json.loads((tmp_path / "boxes.json").read_text()) == []
    assert (tmp_path / "boxes.jsonl").read_text() == ""
    with np.load(tmp_path / "boxes.npz", allow_pickle=False) as content:
        shapes = {name: content[name].shape for name in content.files}
    assert shapes == {
        "names": (0,),
        "image_sizes": (0, 2),
        "starts": (1,),
        "boxes": (0, 4),
        "scores": (0,),
        "sources": (0,),
        "source_names": (0,),
    }


def test_images_without_boxes_are_no_coco_entries(tmp_path: Path) -> None:
    export_proposals(tmp_path / "boxes.json", [("1.jpg", make(0)), ("2.jpg", make(0))])
    assert json.loads((tmp_path / "boxes.json").read_text()) == []


@pytest.mark.parametrize("name", ["boxes.txt", "boxes", "boxes.npy", "boxes.json.gz", ".npz"])
def test_another_ending_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    def never() -> Iterator[Named]:
        raise AssertionError("an image was asked for")
        yield

    with pytest.raises(ValueError, match=r"must end in \.npz, \.jsonl, \.json"):
        export_proposals(tmp_path / name, never())
    assert files(tmp_path) == []


@pytest.mark.parametrize("ending", EXPORT_FORMATS)
def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, ending: str) -> None:
    with pytest.raises(OSError, match="nowhere"):
        export_proposals(tmp_path / "nowhere" / f"boxes{ending}", [("1.jpg", make(1))])
