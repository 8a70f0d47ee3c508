"""Reports on proposals, on a small drawn data set and with a proposer whose boxes are known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.data import VOCDataset
from detector.errors import InputError
from detector.evaluation.prediction.proposals import ProposalReport, evaluate_files, read_pixels
from detector.io import progress
from proposals import Proposals, propose_files

MakeVOC = Callable[..., Path]
Box = tuple[float, float, float, float]


class Fixed:
    """Proposes the same boxes in every image."""

    fingerprint = "fixed"

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = boxes

    def __call__(self, image: np.ndarray) -> Proposals:
        n = len(self.boxes)
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        size = (image.shape[1], image.shape[0])
        return Proposals(boxes, np.ones(n, np.float32), np.zeros(n, np.int16), ("fixed",), size)


# VOC's coordinates count from 1 and include the last pixel: the cat is the box (0, 0, 60, 40).
IMAGES = {
    "a": [("cat", (1, 1, 60, 40), 0), ("dog", (61, 41, 100, 80), 0)],
    "b": [],
    "c": [("cat", (1, 1, 60, 50), 0), ("person", (1, 1, 4, 4), 1)],
}
CAT: Box = (0, 0, 60, 40)
DOG: Box = (60, 40, 100, 80)
FAR: Box = (90, 0, 100, 5)
# Objects in order: IoU 1, 1 and 0.8 with these.
PROPOSER = Fixed([FAR, CAT, DOG])


@pytest.fixture
def root(make_voc: MakeVOC) -> Path:
    return make_voc(IMAGES)


def report_of(root: Path, proposer: Fixed = PROPOSER, workers: int = 1, **options: Any) -> ProposalReport:
    dataset = VOCDataset(root, "val")
    paths = [dataset.image_path(index) for index in range(len(dataset))]
    return evaluate_files(propose_files(paths, proposer, read_pixels, workers=workers), dataset, **options)


def test_figures_by_hand(root: Path) -> None:
    report = report_of(root)
    content, lines = report.to_dict(), report.table().splitlines()
    assert json.loads(json.dumps(content)) == content
    figures = {"boxes", "objects", "recall50", "recall70", "class_recall50", "average_recall", "mabo"}
    about_run = {"split", "images", "seconds_per_image", "images_per_second", "failed"}
    assert set(content) == figures | about_run | {"by_class", "by_size", "by_budget", "random_order", "curve"}
    assert (content["images"], content["split"], content["boxes"], content["failed"]) == (3, "val", 3, {})
    assert content["objects"] == 3, "difficult objects do not count"
    assert content["recall50"] == content["recall70"] == content["class_recall50"] == 1
    assert content["average_recall"] == pytest.approx((10 + 10 + 7) / 30, abs=1e-5)
    assert content["mabo"] == pytest.approx((0.9 + 1) / 2, abs=1e-5)
    assert {name: part["mabo"] for name, part in content["by_class"].items()} == pytest.approx(
        {"cat": 0.9, "dog": 1}, abs=1e-5
    )
    assert [part["objects"] for part in content["by_size"].values()] == [3]
    assert list(content["by_budget"]) == ["100", "500", "1000", "all"]
    assert content["seconds_per_image"] > 0
    assert content["images_per_second"] > 0
    for key in ("boxes", "recall50", "recall70", "average_recall", "mabo"):
        assert f"{key} {content[key]:.4g}" in lines
    assert f"seconds_per_image {content['seconds_per_image']:.4f}" in lines
    assert lines[-1].endswith(" images per second; 3 images of val")
    starts = {line.split()[0]: line.split() for line in lines if line}
    assert set(starts) >= {"100", "500", "1000", "all", "dog", "medium"}
    assert starts["cat"] == ["cat", "3", "2", "1.000", "1.000", "0.850", "0.900"]
    assert "person" not in starts


def test_difficult_objects_are_neutral(tmp_path: Path, make_voc: MakeVOC) -> None:
    """Found or missed, they change nothing; a class of difficult objects only does not show up."""
    without = {name: [item for item in objects if not item[2]] for name, objects in IMAGES.items()}
    missed = {**IMAGES, "b": [("cat", (70, 70, 80, 80), 1)]}
    found = {**IMAGES, "b": [("cat", (1, 1, 60, 40), 1)]}
    contents = []
    for number, images in enumerate((without, missed, found)):
        root = make_voc(images).rename(tmp_path / f"VOC{number}")
        content = report_of(root).to_dict()
        contents.append({key: value for key, value in content.items() if "second" not in key})
    assert contents[1] == contents[2] == contents[0]
    assert list(contents[0]["by_class"]) == ["cat", "dog"]


@pytest.mark.parametrize(("limit", "recall"), [(1, 0), (2, 2 / 3), (3, 1), (100, 1), (None, 1)])
def test_a_limit_takes_the_best_boxes(root: Path, limit: int | None, recall: float) -> None:
    content = report_of(root, limit=limit).to_dict()
    assert content["recall50"] == pytest.approx(recall, abs=1e-5)
    assert content["boxes"] == min(limit or 3, 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_image_is_listed_and_not_covered(root: Path, workers: int) -> None:
    (root / "JPEGImages/a.jpg").write_bytes(b"broken")
    report = report_of(root, workers=workers)
    assert list(report.failed) == ["a"]
    assert "not a photo" in report.failed["a"]
    assert "\n" not in report.failed["a"]
    content = report.to_dict()
    assert content["failed"] == report.failed
    assert (content["objects"], content["images"], content["boxes"]) == (3, 3, 2)
    assert content["recall50"] == pytest.approx(1 / 3, abs=1e-5)
    assert content["by_class"]["dog"]["recall50"] == 0
    assert content["by_class"]["cat"]["mabo"] == pytest.approx(0.4, abs=1e-5)
    assert "images that failed: 1" in report.table()


def test_an_image_of_another_size_than_annotated_has_failed(root: Path) -> None:
    """Its boxes would lie elsewhere."""
    Image.new("RGB", (80, 100)).save(root / "JPEGImages/c.jpg")
    report = report_of(root, Fixed([CAT]))
    assert list(report.failed) == ["c"]
    assert "80x100 pixels, but its annotation says 100x80" in report.failed["c"]
    assert report.to_dict()["by_class"]["cat"]["mabo"] == 0.5


def test_all_images_failed(root: Path) -> None:
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(b"broken")
    report = report_of(root)
    assert list(report.failed) == ["a", "b", "c"]
    assert report.seconds_per_image is None
    content = report.to_dict()
    assert (content["recall50"], content["boxes"], content["seconds_per_image"]) == (0, 0, None)
    assert "seconds_per_image" not in report.table()
    assert "images that failed: 3" in report.table()


def test_a_data_set_without_objects_has_no_report(make_voc: MakeVOC) -> None:
    with pytest.raises(InputError, match="split 'val'"):
        report_of(make_voc({"a": [], "b": [("cat", (1, 1, 60, 40), 1)]}))


def test_a_missing_image_and_a_wrong_annotation_end_it(root: Path) -> None:
    (root / "Annotations/c.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"c\.xml"):
        report_of(root)
    (root / "JPEGImages/b.jpg").unlink()
    with pytest.raises(InputError, match=r"b\.jpg: no such image"):
        report_of(root)


def test_progress_goes_to_standard_error(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    report_of(root)
    assert capsys.readouterr() == ("", "")
    report_of(root, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "of 3 images" in captured.err
