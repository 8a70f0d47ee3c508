"""The command `detector evaluate` on files of detections, of every data set."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.data import VOC_CLASSES
from detector.data.formats import FORMATS

Run = Callable[..., tuple[int, str, str]]
Evaluate = Callable[..., tuple[int, str, str]]


def test_stored_detections(run: Run, found: Path, tmp_path: Path) -> None:
    result = tmp_path / "new" / "result.json"
    code, out, err = run("--detections", found, "--metric", "voc10", "--json", result)
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


def test_voc07_is_the_default(run: Run, found: Path) -> None:
    assert "metric voc07 at IoU 0.5; 3 images of val" in run("--detections", found)[1]


def test_an_image_without_an_entry(run: Run, found: Path) -> None:
    found.write_text(json.dumps(json.loads(found.read_text())[1:]))
    code, out, err = run("--detections", found)
    assert code == 2
    assert err == f"error: 1 of 3 images failed, first c: {found} has no entry for it\n"
    assert "mAP" in out


def test_files_that_lack_images_are_compared_with_a_warning(run: Run, found: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.json"
    part.write_text(json.dumps(json.loads(found.read_text())[1:]))
    code, out, err = run("--compare", found, part)
    assert code == 2
    assert "mAP" in out
    assert err.startswith(f"error: {part}: 1 of 3 images failed")


def test_other_formats_are_written_and_read(run: Run, found: Path, tmp_path: Path) -> None:
    plain = run("--detections", found)[1]
    for name in ("csv", "voc", "coco"):
        code, out, _ = run("--detections", found, "--export", name, tmp_path / name)
        assert code == 0
        assert f" -> {tmp_path / name}\n" in out
        again = run("--detections", tmp_path / name, "--format", name)[1]
        assert again.splitlines()[:22] == plain.splitlines()[:22]
    code, _, err = run("--detections", found, "--export", "xml", tmp_path / "x")
    assert (code, err) == (2, "error: format of detections 'xml' is unknown; known are " + ", ".join(FORMATS) + "\n")


def test_two_files_are_compared(run: Run, found: Path, tmp_path: Path) -> None:
    entries = json.loads(found.read_text())
    entries[0]["detections"] = entries[0]["detections"][1:]  # without the false dog
    better, result = tmp_path / "better.json", tmp_path / "result.json"
    better.write_text(json.dumps(entries))
    page = tmp_path / "page.html"
    code, out, _ = run("--compare", found, better, "--metric", "voc10", "--json", result, "--report", page)
    text = page.read_text(encoding="utf-8")
    assert f"<h1>{better} compared with {found}</h1>" in text
    assert f"report -> {page}" in out
    assert text.count("<figure>") == 2 * len(json.loads(result.read_text())["images"])
    assert code == 0
    assert out.splitlines()[0] == f"A is {found}, B is {better}"
    row = next(line for line in out.splitlines() if line.startswith("mAP"))
    assert row.split()[1:5] == ["2", "75.0", "100.0", "+25.0"]
    content = json.loads(result.read_text())
    assert content["AP"]["dog"]["difference"] == 0.5
    assert content["images"][0]["image"] == "c"


def test_coco_without_images(coco: tuple[Path, Path], tmp_path: Path, evaluate: Evaluate) -> None:
    result = tmp_path / "result.json"
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1], "--json", result)
    code, out, err = evaluate(*options)
    assert (code, err) == (0, "")
    content = json.loads(result.read_text())
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


def test_empty_detections_of_coco_are_kept_on_request(coco: tuple[Path, Path], evaluate: Evaluate) -> None:
    found = json.loads(coco[1].read_text())
    coco[1].write_text(json.dumps([found[0] | {"bbox": [0, 0, 0, 40], "score": 1}, *found]))
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1])
    code, _, err = evaluate(*options)
    assert code == 2
    assert "record 1" in err
    code, out, _ = evaluate(*options, "--keep-empty-boxes")
    assert code == 0
    assert "AP 12.6" in out  # a false positive before the hit: half the precision up to half the recall


def test_bad_labels_are_left_out_on_request(coco: tuple[Path, Path], evaluate: Evaluate) -> None:
    content = json.loads(coco[0].read_text())
    content["annotations"][1]["bbox"] = [5, 5, 0, 9]
    coco[0].write_text(json.dumps(content))
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1])
    code, _, err = evaluate(*options)
    assert code == 2
    assert "annotations[1] (id 2)" in err
    code, out, _ = evaluate(*options, "--skip-bad-labels")
    assert code == 0
    assert f"1 label is wrong and left out (--skip-bad-labels), the first: {coco[0]}: annotations[1] (id 2)" in out


def test_other_metrics_and_classes_of_coco(coco: tuple[Path, Path], evaluate: Evaluate) -> None:
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1], "--metric", "voc10")
    assert "mAP at IoU 0.5: 25.0, 0.75: 25.0" in evaluate(*options, "--iou-thresholds", "0.5,0.75")[1]
    code, out, _ = evaluate(*options, "--classes", "cat")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["class", "cat", "mAP"]
    code, _, err = evaluate(*options, "--classes", "lynx")
    assert (code, err) == (2, "error: class 'lynx' is unknown; known are kite, cat, chair\n")


def test_ilsvrc(root: Path, tmp_path: Path, evaluate: Evaluate) -> None:
    annotation = (root / "Annotations/a.xml").read_text().replace("<name>cat", "<name>n02121808")
    folder = tmp_path / "val"
    folder.mkdir()
    (folder / "x_1.xml").write_text(annotation)
    (folder / "x_2.xml").write_text(annotation.replace("n02121808", "n99999999"))
    (tmp_path / "val.txt").write_text("x_1 1\nx_2 2\n")
    (tmp_path / "map_det.txt").write_text("n02084071 58 dog\nn02121808 37 domestic cat\n")
    (tmp_path / "found.txt").write_text("1 37 0.9 1 1 50 40\n2 37 0.95 1 1 50 40\n")
    (tmp_path / "blacklist.txt").write_text("2 37\n")
    options = ["--dataset", "ilsvrc", "--annotations", folder, "--split", tmp_path / "val.txt",
               "--class-map", tmp_path / "map_det.txt", "--detections", tmp_path / "found.txt"]  # fmt: skip
    code, out, _ = evaluate(*options)
    assert code == 0
    assert "domestic cat        1           2   50.0" in out
    assert "left out: n99999999 (1)" in out
    code, out, _ = evaluate(*options, "--blacklist", tmp_path / "blacklist.txt")
    assert "domestic cat        1           1  100.0" in out
    assert "1 pairs of an image and a class are on the blacklist" in out


def test_stored_detections_need_no_torch(root: Path, found: Path) -> None:
    program = (
        "import sys; from detector.cli import main\ntry: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)\n"
    )
    arguments = ["evaluate", "--root", root, "--split", "val", "--detections", found]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert "mAP" in done.stdout
