import json
import math
from pathlib import Path

import numpy as np
import pytest

from detector.data.faults import FaultyDataError
from detector.data.formats import read_detections, read_predictions
from detector.data.ground_truth import GroundTruth
from detector.data.predictions import Prediction
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.prediction.predict import write_predictions
from detector.structures.detections import Detections

NAMES = ("cat", "dog")
ENTRY = {
    "image": "photos/a.jpg",
    "width": 100,
    "height": 80,
    "seconds": 0.5,
    "detections": [{"label": "cat", "category_id": 1, "score": 0.5, "box": [0, 0, 50, 40]}],
}
TRACES = {"proposal_overlaps": [0.75, 0.25], "sources": ["multibox", None], "region_scores": [0.5, 0.0]}


@pytest.fixture
def truth() -> GroundTruth:
    return GroundTruth(
        image_ids=("a", "b", "c"),
        class_names=NAMES,
        images=[0, 0, 2],
        labels=[0, 1, 0],
        boxes=[[0, 0, 9, 9], [5, 5, 20, 20], [1, 1, 30, 30]],
        image_sizes=np.full((3, 2), [100, 80]),
        files=("a.jpg", "b.jpg", "c.jpg"),
    )


def found(*scores: float) -> Detections:
    boxes = [[n + 0.1, n, n + 20, n + 30.7] for n in range(len(scores))]
    return Detections(np.array(boxes), np.array(scores), np.arange(len(scores)) % 2, NAMES, (100, 80))


def traces(count: int) -> ObjectTraces:
    return ObjectTraces(
        proposal_overlaps=np.linspace(0.1, 0.9, count),
        sources=np.arange(count) - 1,
        source_names=tuple("xyz"[: max(count - 1, 0)]),
        region_scores=np.linspace(0, 0.3, count),
    )


def stored(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


def test_columns_of_traces_have_one_length() -> None:
    with pytest.raises(InputError, match="region_scores"):
        ObjectTraces(proposal_overlaps=[0.5], sources=[0], source_names=("x",), region_scores=[0.5, 0.6])


def test_what_is_written_is_read_again(truth: GroundTruth, tmp_path: Path) -> None:
    predictions = [
        Prediction("a", found(0.9, 1 / 3), 0.25, traces=traces(2)),
        Prediction("b", found(), 0.125, traces=traces(0)),
        Prediction("c", found(0.7), None, traces=traces(1)),
    ]
    path = tmp_path / "found.json"
    write_predictions(path, predictions, truth)
    for given, read in zip(predictions, read_predictions(path, truth), strict=True):
        assert (read.image_id, read.seconds, read.error) == (given.image_id, given.seconds, None)
        for name in ("boxes", "scores", "labels"):
            assert getattr(read.detections, name).tobytes() == getattr(given.detections, name).tobytes()
        for name in ("proposal_overlaps", "sources", "source_names", "region_scores"):
            np.testing.assert_array_equal(getattr(read.traces, name), getattr(given.traces, name))
    result = read_detections(path, truth)
    assert (result.format, result.seconds_per_image, result.failed) == ("native", 0.1875, {})
    assert result.table.images.tolist() == [0, 0, 2]
    assert result.traces is not None
    assert result.traces.proposal_overlaps.tolist() == [0.1, 0.9, 0.1]
    assert result.notes() == []


def test_a_failed_image_is_not_written_and_fails_again(truth: GroundTruth, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    failed = Prediction("b", None, error="no")
    write_predictions(path, [Prediction("a", found(0.5)), failed, Prediction("c", found())], truth)
    assert [p.error for p in read_predictions(path, truth)] == [None, f"{path} has no entry for it", None]
    result = read_detections(path, truth)
    assert result.failed == {"b": f"{path} has no entry for it"}
    assert (result.seconds_per_image, result.traces) == (None, None)
    assert result.notes() == []  # an evaluation tells failures by itself


@pytest.mark.parametrize("image", ["a", "a.jpg", "a.png", "/data/a.jpg", "photos/a.jpg", r"C:\photos\a.jpg", "x/a"])
def test_entries_go_by_file_name(truth: GroundTruth, tmp_path: Path, image: str) -> None:
    prediction = read_predictions(stored(tmp_path / "found.json", ENTRY | {"image": image}), truth)[0]
    assert prediction.detections is not None
    assert prediction.detections.boxes.tolist() == [[0, 0, 50, 40]]
    assert prediction.seconds == 0.5


def test_an_id_may_hold_a_dot(tmp_path: Path) -> None:
    truth = GroundTruth(image_ids=("v.1", "v.2"), class_names=NAMES, images=[], labels=[], boxes=[])
    path = stored(tmp_path / "found.json", ENTRY | {"image": "v.2"}, ENTRY | {"image": "x/v.1.jpg"})
    assert [p.error for p in read_predictions(path, truth)] == [None, None]


def test_detections_in_any_order_of_any_spelling_without_what_is_not_needed(truth: GroundTruth, tmp_path: Path) -> None:
    items = [{"label": "Domestic cat", "score": score, "box": [0, 0, 9, 9]} for score in (0.25, 0.75)]
    entry = {"image": "a", "width": 100, "height": 80, "detections": items}
    result = read_detections(stored(tmp_path / "found.json", entry), truth)
    (prediction, *_) = result.predictions
    assert prediction.seconds is None
    assert prediction.detections is not None
    assert prediction.detections.scores.tolist() == [0.75, 0.25]
    assert result.table.labels.tolist() == [0, 0]
    assert result.classes == {"Domestic cat": "cat"}


def detection(**changes: object) -> dict[str, object]:
    return ENTRY | {"detections": [ENTRY["detections"][0] | changes]}  # type: ignore[index,operator]


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in ENTRY.items() if key != name}


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (7, "7"),
        *((without(name), name) for name in ("image", "width", "detections")),
        (ENTRY | {"image": 5}, "image"),
        *((ENTRY | {"width": value}, "width") for value in (0, 10**400)),
        *((ENTRY | {"height": value}, "height") for value in (80.5, True)),
        (ENTRY | {"width": 80, "height": 100}, "80x100 pixels, but its annotation says 100x80"),
        *((ENTRY | {"seconds": value}, "seconds") for value in (-1, math.nan, "1")),
        (ENTRY | {"detections": {}}, "detections"),
        (ENTRY | {"detections": [None]}, "detections[0]"),
        (ENTRY | {"detections": [{"score": 1}]}, "label"),
        (ENTRY | {"detections": [{"label": "cat", "score": 0.5}]}, "box"),
        (detection(label=["cat"]), "detections[0].label"),
        *((detection(score=value), "detections[0].score") for value in (None, "0.5", True, 1.5, math.nan)),
        *((detection(box=value), "detections[0].box") for value in ([1, 2, 3], "1234", [-1, 0, 9, 9])),
        (detection(box=[5, 5, 5, 9]), "detection 0: field box"),
        (detection(box=[0, 0, 101, 9]), "100x80 pixels"),
        *((detection(box=[0, 0, value, 9]), "detections[0].box[2]") for value in (math.inf, 10**400)),
        (ENTRY | {"objects": TRACES | {"sources": ["x"]}}, "field objects"),
        (ENTRY | {"objects": TRACES | {"region_scores": [0.5, math.nan]}}, "objects.region_scores[1]"),
        (ENTRY | {"objects": {"sources": []}}, "objects"),
    ],
)
def test_a_wrong_entry_is_named(truth: GroundTruth, tmp_path: Path, entry: object, field: str) -> None:
    path = stored(tmp_path / "found.json", ENTRY | {"image": "b", "detections": []}, entry)
    with pytest.raises(FaultyDataError) as caught:
        read_predictions(path, truth)
    fault = caught.value.faults[0]
    assert (fault.file, fault.record.split(" (")[0]) == (str(path), "entry 2")
    assert field in fault.fault


def test_all_faulty_entries_are_named(truth: GroundTruth, tmp_path: Path) -> None:
    box = detection(box=[0, 0, 500, 70]) | {"width": 90}
    path = stored(tmp_path / "found.json", box, ENTRY | {"image": "b", "seconds": -1}, 7)
    with pytest.raises(FaultyDataError) as caught:
        read_predictions(path, truth)
    for part in ("entry 1 (photos/a.jpg): detection 0", "not inside", "fields width and height", "entry 2", "entry 3"):
        assert part in str(caught.value)


def test_an_image_may_not_come_twice(truth: GroundTruth, tmp_path: Path) -> None:
    path = stored(tmp_path / "found.json", ENTRY, ENTRY | {"image": "a.png"})
    with pytest.raises(FaultyDataError, match=r"entry 2 \(a.png\): field image: an earlier entry has the same image"):
        read_predictions(path, truth)


def test_entries_of_other_images_are_counted(truth: GroundTruth, tmp_path: Path) -> None:
    path = stored(tmp_path / "found.json", ENTRY | {"image": "z.jpg", "width": 7000}, ENTRY, ENTRY | {"image": ""})
    result = read_detections(path, truth)
    assert (len(result.table), result.outside) == (1, 2)
    assert any("2 entries of images" in note for note in result.notes())
    with pytest.raises(InputError, match=r"none of the images of its 1 entries is in the data set, such as 'z.jpg'"):
        read_predictions(stored(path, ENTRY | {"image": "z.jpg"}), truth)


def test_unknown_classes(truth: GroundTruth, tmp_path: Path) -> None:
    items = [*ENTRY["detections"], {"label": "lynx", "score": 0.9, "box": [0, 0, 9, 9]}]  # type: ignore[misc]
    path = stored(tmp_path / "f.json", ENTRY | {"detections": items})
    with pytest.raises(InputError, match=r"1 detections are of classes .* \('lynx'\); it has cat, dog"):
        read_predictions(path, truth)
    result = read_detections(path, truth, ignore_unknown_classes=True)
    assert result.table.labels.tolist() == [0]
    assert result.unknown_classes == {"lynx": 1}
