"""COCO's metric beside pycocotools, and the published numbers."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from detector.data.coco import read_coco
from detector.data.formats import read_detections
from detector.errors import InputError
from detector.evaluation.comparison import compare
from detector.evaluation.metrics.coco import IOU_THRESHOLDS, COCOResult, coco_average_precision
from tests.detector.evaluation.coco_data import COCOData, assert_agree, data_on_borders, other_evaluator, random_data
from tests.detector.evaluation.tables import table_of, truth_of

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def result_of(data: COCOData, *settings: object) -> COCOResult:
    return coco_average_precision(data.truth(), data.detections(), *settings)


def pycocotools(data: COCOData, iou_thresholds: object = None) -> dict:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    from pycocotools.cocoeval import COCOeval

    return other_evaluator(data, coco.COCO, COCOeval, iou_thresholds)


def fakebbox100() -> COCOData:
    content = json.loads((Path(__file__).parent / "data" / "coco_fakebbox100.json").read_text())
    data = COCOData(content["images"], content["categories"])
    for number, (image, category, *box, area, crowd) in enumerate(content["objects"], start=1):
        ids = {"id": number, "image_id": image, "category_id": category}
        data.annotations.append(ids | {"bbox": box, "area": area, "iscrowd": crowd})
    for image, category, *box, score in content["detections"]:
        data.results.append({"image_id": image, "category_id": category, "bbox": box, "score": score})
    return data


def test_the_published_numbers() -> None:
    data = fakebbox100()
    result = result_of(data)
    assert list(result.summary) == NAMES
    published = [0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564]
    assert [round(value, 3) for value in result.summary.values()] == published
    assert_agree(result, pycocotools(data))
    assert result.objects.sum() == sum(not item["iscrowd"] for item in data.annotations)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("iou_thresholds", [IOU_THRESHOLDS, (0.3, 0.5, 0.77)])
def test_random_data_like_pycocotools(seed: int, iou_thresholds: tuple[float, ...]) -> None:
    """Also boxes without width, and more than a hundred detections of an image and a class."""
    data = random_data(seed, **({"images": 2, "classes": 2, "detections": 500} if seed % 3 == 0 else {}))
    if seed % 2:
        for item in data.results[::3]:
            item["bbox"][2 + seed % 3 % 2] = 0
    result = result_of(data, iou_thresholds)
    assert 0.05 < result.mean_ap < 0.95
    assert_agree(result, pycocotools(data, iou_thresholds))


def test_faster_coco_eval_agrees() -> None:
    other = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    for seed in range(4):
        data = random_data(seed)
        assert_agree(result_of(data), other_evaluator(data, other.COCO, other.COCOeval_faster))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("difficult", [0, 0.3])
@pytest.mark.parametrize("sides", ["the file's", "the corners'"])
def test_a_comparison_handles_exact_borders_like_the_metric(seed: int, difficult: float, sides: str) -> None:
    data = data_on_borders(seed)
    truth, table = data.truth(), data.detections()
    truth = dataclasses.replace(truth, difficult=np.random.default_rng(seed).random(len(truth)) < difficult)
    if not difficult:
        assert_agree(result_of(data), pycocotools(data))
    if sides == "the corners'":
        truth, table = dataclasses.replace(truth, sides=None), dataclasses.replace(table, sides=None)
    compared, result = compare(truth, table, table, "coco", resamples=1), coco_average_precision(truth, table)
    np.testing.assert_allclose(compared.a.ap, [*result.ap.values(), result.mean_ap], rtol=0, atol=1e-12)
    assert list(compared.objects.values()) == result.objects.tolist()


@pytest.mark.parametrize(
    ("box", "found", "ap", "known"),
    [
        ([55.3, 0, 88, 13], [55.3, 0, 44, 13], 0.1, "APm"),
        ([0, 0, 66.6666667, 10], [0, 0, 33.33333335, 10], 0.1, "APs"),
        ([0, 0, 96.0000001, 96], [0, 0, 96.0000001, 96], 1, "APl"),
    ],
)
def test_a_file_s_sides_and_areas_are_kept(
    tmp_path: Path, box: list[float], found: list[float], ap: float, known: str
) -> None:
    ids = {"image_id": 1, "category_id": 1}
    data = COCOData([1], [1])
    data.annotations.append(ids | {"id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
    data.results.append(ids | {"bbox": found, "score": 0.5})
    content = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "1"}], "annotations": data.annotations}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text(json.dumps(data.results))
    truth = read_coco(tmp_path / "truth.json")
    table = read_detections(tmp_path / "found.json", truth).table
    result = coco_average_precision(truth, table)
    assert_agree(result, pycocotools(data))
    assert result.mean_ap == pytest.approx(ap)
    assert compare(truth, table, table, "coco", resamples=1).a.ap[-1] == pytest.approx(ap)
    assert [name for name in ("APs", "APm", "APl") if not math.isnan(result.summary[name])] == [known]


def one_image(boxes: list, difficult: list[bool], detections: list) -> COCOResult:
    """`detections`: box and score."""
    truth = truth_of(*((0, 0, box) for box in boxes), images=1, names=["cat"], difficult=difficult)
    return coco_average_precision(truth, table_of(truth, *((0, 0, score, box) for box, score in detections)))


BOX, FAR, INSIDE = [10, 10, 50, 50], [200, 200, 240, 240], [10, 10, 20, 20]


def test_difficult_objects_do_not_count_and_take_one_detection() -> None:
    difficult = [True, False]
    assert one_image([BOX, FAR], difficult, [(BOX, 0.9), (FAR, 0.8)]).mean_ap == pytest.approx(1)
    # A second detection of it counts as a false positive, and so does one inside it.
    assert one_image([BOX, FAR], difficult, [(BOX, 0.9), (BOX, 0.85), (FAR, 0.8)]).mean_ap == pytest.approx(1 / 2)
    assert one_image([BOX, FAR], difficult, [(INSIDE, 0.9), (FAR, 0.8)]).mean_ap == pytest.approx(1 / 2)
    assert one_image([BOX, FAR], difficult, []).objects.tolist() == [1]
    # An object that counts is preferred.
    assert one_image([BOX, [10, 10, 50, 45]], difficult, [(BOX, 0.9)]).average_precision(0.5) == pytest.approx(1)


def test_without_objects_or_detections() -> None:
    data = random_data(0)
    nothing = dataclasses.replace(data, results=[])
    assert set(result_of(nothing).summary.values()) == {0}
    assert result_of(nothing).detections.tolist() == [0, 0, 0]
    no_objects = result_of(dataclasses.replace(data, annotations=[]))
    assert all(map(math.isnan, no_objects.summary.values()))
    assert no_objects.to_dict()["mAP"] is None
    assert math.isnan(result_of(COCOData([], [1])).mean_ap)
    assert math.isnan(result_of(data).ap["2"])  # no object is of the last class


def test_text_and_json() -> None:
    result = result_of(random_data(3))
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {name: content[name] for name in NAMES} == pytest.approx(result.summary)
    assert content["classes"]["2"]["AP"] is None
    assert content["classes"]["0"]["objects"] == result.objects[0] > 0
    assert np.isnan(result.average_precision(0.52)).all()  # not evaluated
    lines = result.table().splitlines()
    assert lines[0].split()[:4] == ["class", "objects", "detections", "AP"]
    assert lines[1].split()[3] == f"{100 * result.ap['0']:.1f}"
    assert lines[4].split()[3] == f"{100 * result.mean_ap:.1f}"
    assert lines[6] == "excluded from the means, without objects: 2"
    assert lines[7].startswith(f"AP {100 * result.mean_ap:.1f}  AP50 ")


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    result_of(random_data(0), [0.123])
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="other images"):
        coco_average_precision(COCOData([1], [1]).truth(), random_data(0).detections())
    for thresholds, message in (([0.5, 0.0], "IoU threshold 0.0"), ([], "at least one IoU threshold")):
        with pytest.raises(InputError, match=message):
            result_of(random_data(0), thresholds)
