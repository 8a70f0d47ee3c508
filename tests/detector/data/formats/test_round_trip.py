"""What is written is read again, in every format, and recognized."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.detection_table import DetectionTable
from detector.data.formats import FORMATS, Format, read_detections, write_detections
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError

LETTERS = st.characters(codec="utf-8", categories=("L", "N"), include_characters=" -'.,_()")
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: name == name.strip() and name.strip("."))
IDS = st.one_of(st.integers(0, 10**12), NAMES)
QUARTERS = st.integers(0, 400).map(lambda value: value / 4)


def distinct(values: list[object]) -> bool:
    """Whether file systems and spellings keep the names apart."""
    return len({str(value).casefold() for value in values}) == len(values)


@st.composite
def data(draw: st.DrawFn) -> tuple[GroundTruth, DetectionTable]:
    image_ids = draw(st.lists(IDS, min_size=1, max_size=5).filter(distinct))
    class_names = draw(st.lists(NAMES, min_size=1, max_size=4).filter(distinct))
    class_ids = draw(st.permutations(range(1, 91)))[: len(class_names)]
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(image_ids) - 1),
                st.integers(0, len(class_names) - 1),
                st.tuples(QUARTERS, QUARTERS, st.integers(1, 400), st.integers(1, 400)),
                st.floats(0, 1, width=32),
            ),
            max_size=20,
        )
    )
    boxes = np.array([(x, y, x + w / 4, y + h / 4) for _, _, (x, y, w, h), _ in rows]).reshape(-1, 4)
    truth = GroundTruth(
        image_ids=image_ids,
        class_names=class_names,
        class_ids=class_ids,
        images=[],
        labels=[],
        boxes=[],
        image_sizes=np.full((len(image_ids), 2), [211, 200]),
        files=[f"{index}-{draw(NAMES)}.jpg" for index in range(len(image_ids))],
    )
    table = DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=[row[0] for row in rows],
        labels=[row[1] for row in rows],
        boxes=boxes,
        scores=[row[3] for row in rows],
    )
    return truth, table


def in_order(table: DetectionTable) -> np.ndarray:
    """Rows of image, label, score, box in an order that no format changes."""
    boxes = table.boxes.round(6)
    order = np.lexsort((*boxes.T, table.scores, table.labels, table.images))
    return np.column_stack([table.images, table.labels, table.scores, table.boxes])[order]


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=40, deadline=None)
@given(given_data=data())
def test_every_format(format_: Format, given_data: tuple[GroundTruth, DetectionTable]) -> None:
    truth, table = given_data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found"
        write_detections(path, table, truth, format_)
        read = read_detections(path, truth, format_)
    assert (read.outside, read.unknown_classes, read.failed) == (0, {}, {})
    assert read.table.image_ids == truth.image_ids
    if format_ == "yolo":  # fractions of an image of odd width
        np.testing.assert_allclose(in_order(read.table), in_order(table), rtol=0, atol=1e-10)
    else:  # quarters of pixels are exact in every other format
        np.testing.assert_array_equal(in_order(read.table), in_order(table))


@pytest.mark.parametrize("format_", ["coco", "csv", "ilsvrc"])
def test_the_order_of_equal_scores_is_kept(format_: Format, truth: GroundTruth, tmp_path: Path) -> None:
    table = table_of(truth, [(2, 0), (0, 1), (2, 0)], [[0, 0, 9, 9], [1, 1, 9, 9], [2, 2, 9, 9]], [0.5, 0.5, 0.5])
    write_detections(tmp_path / "found", table, truth, format_)
    read = read_detections(tmp_path / "found", truth).table
    assert read.boxes.tolist() == table.boxes.tolist()


def table_of(truth: GroundTruth, places: list[tuple[int, int]], boxes: object, scores: object) -> DetectionTable:
    return DetectionTable(
        image_ids=truth.image_ids,
        class_names=truth.class_names,
        images=[image for image, _ in places],
        labels=[label for _, label in places],
        boxes=boxes,
        scores=scores,
    )


@pytest.mark.parametrize("format_", ["coco", "csv"])
def test_any_float_is_written_with_all_its_digits(format_: Format, truth: GroundTruth, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low, size = rng.normal(0, 1e3, (200, 2)), rng.uniform(1e-3, 1e3, (200, 2))
    table = table_of(truth, [(0, 0)] * 200, np.hstack([low, low + size]), rng.normal(0, 1e-8, 200))
    write_detections(tmp_path / "found", table, truth, format_)
    read = read_detections(tmp_path / "found", truth).table
    assert read.scores.tobytes() == table.scores.tobytes()
    assert read.boxes[:, :2].tobytes() == table.boxes[:, :2].tobytes()
    np.testing.assert_array_max_ulp(read.boxes + 1e5, table.boxes + 1e5, 1)  # of the order of the coordinates
    assert read.sides.tobytes() == table.sides.tobytes()
    if format_ == "csv":
        assert read.boxes.tobytes() == table.boxes.tobytes()


@pytest.mark.parametrize("format_", FORMATS)
def test_the_format_is_recognized(format_: Format, truth: GroundTruth, tmp_path: Path) -> None:
    table = table_of(truth, [(1, 1), (0, 0)], [[0, 0, 9, 9], [3, 4, 50, 60]], [0.5, 0.25])
    write_detections(tmp_path / "found", table, truth, format_)
    read = read_detections(tmp_path / "found", truth)
    assert read.format == format_
    np.testing.assert_allclose(in_order(read.table), in_order(table), rtol=0, atol=1e-10)
    nothing = table_of(truth, [], [], [])
    write_detections(tmp_path / "nothing", nothing, truth, format_)
    assert len(read_detections(tmp_path / "nothing", truth, format_).table) == 0


@pytest.mark.parametrize("format_", FORMATS)
def test_a_path_that_cannot_be_written(format_: Format, truth: GroundTruth, tmp_path: Path) -> None:
    table = table_of(truth, [(0, 0)], [[0, 0, 9, 9]], [0.5])
    with pytest.raises(InputError, match="found: cannot be written"):
        write_detections(tmp_path / "none" / "found", table, truth, format_)
    assert not any(tmp_path.iterdir())
    if format_ in ("voc", "yolo"):  # old results are not mixed with new ones
        (tmp_path / "old.txt").write_text("")
        with pytest.raises(InputError, match="already exists"):
            write_detections(tmp_path, table, truth, format_)
        assert [file.name for file in tmp_path.iterdir()] == ["old.txt"]


@pytest.mark.parametrize(
    ("format_", "changes", "box", "score", "message"),
    [
        ("yolo", {"image_sizes": None}, [0, 0, 9, 9], 0.5, "image 11: its width and height are unknown"),
        ("native", {"image_sizes": None}, [0, 0, 9, 9], 0.5, "image 11: its width and height are unknown"),
        ("yolo", {}, [0, 0, 900, 9], 0.5, "image 11: a box lies far beyond the image"),
        ("native", {}, [0, 0, 900, 9], 0.5, "image 11: box 0 .* is not inside the image"),
        ("native", {}, [0, 0, 9, 9], 7.5, "image 11: score 0 .* is not in 0..1"),
        ("voc", {"class_names": ("cat/dog", "b")}, [0, 0, 9, 9], 0.5, "'cat/dog' cannot be the name of a file"),
        ("voc", {"image_ids": (" a", 2, 3)}, [0, 0, 9, 9], 0.5, "image id ' a' cannot stand in a line"),
        ("voc", {"files": ("a", "11", "c")}, [0, 0, 9, 9], 0.5, "image 11: '11' is the name of another image too"),
        ("csv", {"files": ("a", "11", "c")}, [0, 0, 9, 9], 0.5, "image 11: '11' is the name of another image too"),
        ("yolo", {"files": ("a/1.jpg", "b/1.jpg", "2")}, [0, 0, 9, 9], 0.5, "'1' is the name of another image too"),
        ("native", {"files": ("13", "b.jpg", "c.jpg")}, [0, 0, 9, 9], 0.5, "'13' is the name of another image too"),
    ],
)
def test_what_a_format_cannot_hold(
    truth: GroundTruth,
    tmp_path: Path,
    format_: Format,
    changes: dict[str, Any],
    box: list[int],
    score: float,
    message: str,
) -> None:
    changed = replace(truth, **changes)
    with pytest.raises(InputError, match=message):
        write_detections(tmp_path / "found", table_of(changed, [(0, 0)], [box], [score]), changed, format_)
    assert not any(tmp_path.iterdir())


def test_unknown_formats_and_other_data(truth: GroundTruth, tmp_path: Path) -> None:
    table = table_of(truth, [(0, 0)], [[0, 0, 9, 9]], [0.5])
    for call in (lambda: write_detections(tmp_path / "f", table, truth, "xml"),
                 lambda: read_detections(tmp_path / "f", truth, "xml")):  # fmt: skip
        with pytest.raises(InputError, match="format of detections 'xml' is unknown; known are coco, native, voc"):
            call()
    with pytest.raises(InputError, match="other images or classes"):
        write_detections(tmp_path / "f", table, truth.first(1), "csv")
