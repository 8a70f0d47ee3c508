"""The command `detector evaluate` on files of detections, of every data set."""

import json
from pathlib import Path

import pytest

from detector.data import VOC_CLASSES


def test_stored_detections(evaluate, found: Path, tmp_path: Path):
    result = tmp_path / "new" / "result.json"
    code, out, err = evaluate("--detections", found, "--metric", "voc10", "--json", result)
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[:22] if line}
    assert rows["cat"] == ["1", "1", "100.0"]
    assert rows["dog"] == ["1", "2", "50.0"]
    assert rows["mAP"] == ["2", "3", "75.0"]
    content = json.loads(result.read_text())
    assert content["AP"].pop("cat") == 1
    assert content["AP"].pop("dog") == 0.5
    assert set(content["AP"].values()) == {None}
    assert list(content["objects"]) == list(VOC_CLASSES)
    assert content["by_iou"]["0.5"]["mAP"] == 0.75
    assert content["by_size"]["medium"]["mAP"] == 1
    for name in ("AP", "objects", "by_iou", "by_size"):
        del content[name]
    assert content == {
        "dataset": "voc",
        "model": None,
        "proposals": None,
        "config": None,
        "annotations": None,
        "data": None,
        "detections": str(found),
        "split": "val",
        "images": 3,
        "metric": "voc10",
        "iou_threshold": 0.5,
        "mAP": 0.75,
        "score_threshold": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "seconds_per_image": 0.5,
        "failed": {},
        "notes": [],
    }


def test_an_image_without_an_entry(evaluate, found: Path, tmp_path: Path):
    part = tmp_path / "part.json"
    part.write_text(json.dumps(json.loads(found.read_text())[1:]))
    code, out, err = evaluate("--detections", part)
    assert code == 2
    assert err == f"error: 1 of 3 images failed, first c: {part} has no entry for it\n"
    assert "mAP" in out
    code, out, err = evaluate("--compare", found, part)
    assert (code, "mAP" in out) == (2, True)
    assert err.startswith(f"error: {part}: 1 of 3 images failed")


def test_other_formats_are_written_and_read(evaluate, found: Path, tmp_path: Path):
    plain = evaluate("--detections", found).out
    assert "metric voc07 at IoU 0.5; 3 images of val" in plain
    for name in ("csv", "voc", "coco"):
        code, out, _ = evaluate("--detections", found, "--export", name, tmp_path / name)
        assert code == 0
        assert f" -> {tmp_path / name}\n" in out
        again = evaluate("--detections", tmp_path / name, "--format", name)[1]
        assert again.splitlines()[:22] == plain.splitlines()[:22]


def test_two_files_are_compared(evaluate, found: Path, tmp_path: Path):
    entries = json.loads(found.read_text())
    entries[0]["detections"] = entries[0]["detections"][1:]  # without the false dog
    better, result = tmp_path / "better.json", tmp_path / "result.json"
    better.write_text(json.dumps(entries))
    page = tmp_path / "page.html"
    code, out, _ = evaluate("--compare", found, better, "--metric", "voc10", "--json", result, "--report", page)
    assert code == 0
    assert out.splitlines()[0] == f"A is {found}, B is {better}"
    row = next(line for line in out.splitlines() if line.startswith("mAP"))
    assert row.split()[1:5] == ["2", "75.0", "100.0", "+25.0"]
    content = json.loads(result.read_text())
    assert content["AP"]["dog"]["difference"] == 0.5
    assert content["images"][0]["image"] == "c"
    text = page.read_text(encoding="utf-8")
    assert f"<h1>{better} compared with {found}</h1>" in text
    assert f"report -> {page}" in out
    assert text.count("<figure>") == 2 * len(content["images"])


@pytest.fixture
def on_coco(coco: tuple[Path, Path], command):
    """Runs the command on annotations and detections of COCO."""
    options = ("evaluate", "--dataset", "coco", "--annotations", coco[0], "--detections", coco[1])
    return lambda *more: command(*options, *more)


def test_coco_without_images(on_coco, tmp_path: Path):
    code, out, err = on_coco("--json", tmp_path / "result.json")
    assert (code, err) == (0, "")
    content = json.loads((tmp_path / "result.json").read_text())
    # Of the cats half are found, at precision 1 up to a recall of 50 of 100 points; of the kites none.
    assert content["mAP"] == content["AP"] == pytest.approx(51 / 101 / 2)
    assert content["AR100"] == pytest.approx(0.25)
    assert content["classes"]["chair"]["AP"] is None
    assert content["notes"] == [
        "classes of the detections, as the data set names them: 17 = cat",
        "1 detections of images that are not in the data set, left out",
    ]
    assert "AP 25.2  AP50 25.2" in out
    assert content["split"] == "instances.json"


def test_empty_detections_of_coco_are_kept_on_request(coco: tuple[Path, Path], on_coco):
    found = json.loads(coco[1].read_text())
    coco[1].write_text(json.dumps([found[0] | {"bbox": [0, 0, 0, 40], "score": 1}, *found]))
    code, _, err = on_coco()
    assert code == 2
    assert "record 1" in err
    code, out, _ = on_coco("--keep-empty-boxes")
    assert code == 0
    assert "AP 12.6" in out  # a false positive before the hit: half the precision up to half the recall


def test_bad_labels_are_left_out_on_request(coco: tuple[Path, Path], on_coco):
    content = json.loads(coco[0].read_text())
    content["annotations"][1]["bbox"] = [5, 5, 0, 9]
    coco[0].write_text(json.dumps(content))
    code, _, err = on_coco()
    assert code == 2
    assert "annotations[1] (id 2)" in err
    code, out, _ = on_coco("--skip-bad-labels")
    assert code == 0
    assert f"1 label is wrong and left out (--skip-bad-labels), the first: {coco[0]}: annotations[1] (id 2)" in out


def test_other_metrics_and_classes_of_coco(on_coco):
    assert "mAP at IoU 0.5: 25.0, 0.75: 25.0" in on_coco("--metric", "voc10", "--iou-thresholds", "0.5,0.75").out
    code, out, _ = on_coco("--metric", "voc10", "--classes", "cat")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["class", "cat", "mAP"]
    code, _, err = on_coco("--classes", "lynx")
    assert (code, err) == (2, "error: class 'lynx' is unknown; known are kite, cat, chair\n")


def test_ilsvrc(root: Path, tmp_path: Path, command):
    annotation = (root / "Annotations/a.xml").read_text().replace("<name>cat", "<name>n02121808")
    folder = tmp_path / "val"
    folder.mkdir()
    (folder / "x_1.xml").write_text(annotation)
    (folder / "x_2.xml").write_text(annotation.replace("n02121808", "n99999999"))
    (tmp_path / "val.txt").write_text("x_1 1\nx_2 2\n")
    (tmp_path / "map_det.txt").write_text("n02084071 58 dog\nn02121808 37 domestic cat\n")
    (tmp_path / "found.txt").write_text("1 37 0.9 1 1 50 40\n2 37 0.95 1 1 50 40\n")
    (tmp_path / "blacklist.txt").write_text("2 37\n")
    options = ["evaluate", "--dataset", "ilsvrc", "--annotations", folder, "--split", tmp_path / "val.txt",
               "--class-map", tmp_path / "map_det.txt", "--detections", tmp_path / "found.txt"]  # fmt: skip
    code, out, _ = command(*options)
    assert code == 0
    assert "domestic cat        1           2   50.0" in out
    assert "left out: n99999999 (1)" in out
    code, out, _ = command(*options, "--blacklist", tmp_path / "blacklist.txt")
    assert "domestic cat        1           1  100.0" in out
    assert "1 pairs of an image and a class are on the blacklist" in out
    (tmp_path / "val.txt").write_text("x_1 1\n")
    code, out, _ = command(
        *options, "--metric", "clsloc", "--json", tmp_path / "f.json", "--report", tmp_path / "f.html"
    )
    assert code == 0
    assert out.splitlines()[1].split() == ["1", "0.0", "0.0"]
    assert json.loads((tmp_path / "f.json").read_text())["localization_error"] == [0.0] * 5
    assert "CLS-LOC" in (tmp_path / "f.html").read_text()
