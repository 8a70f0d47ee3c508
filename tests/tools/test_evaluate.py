"""The command `detector evaluate`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from detector.cli import main
from detector.data import VOC_CLASSES
from detector.detections import Detections
from detector.evaluation.formats import FORMATS
from detector.images import Image as Photo
from proposals import warm_up

Run = Callable[..., tuple[int, str, str]]


class FakeDetector:
    """Finds a cat and a dog in every image; stops at the image of the number `stop` with `failure`."""

    class_names = VOC_CLASSES
    fingerprint = "fake"

    def __init__(self, stop: int = 0, failure: BaseException | None = None) -> None:
        self.stop, self.failure, self.calls = stop, failure, 0

    def detect(self, image: Photo, score: float) -> Detections:
        self.calls += 1
        if self.calls == self.stop and self.failure is not None:
            raise self.failure
        labels = (VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog"))
        boxes = ((0, 0, 50, 40), (0, 0, 20, 20))
        return Detections(boxes, (0.9, 0.3), labels, self.class_names, (image.width, image.height))


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({"a": [("cat", (1, 1, 50, 40), 0)], "b": [], "c": [("dog", (1, 1, 20, 20), 0)]})


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `detector evaluate` on the data set; gives exit code, output and errors."""

    def run(*options: object, split: str = "val") -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", "--root", str(root), "--split", split, *map(str, options)])
        captured = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return code, captured.out, captured.err

    return run


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """The first use of Selective Search would say that it is compiled."""
    warm_up()


@pytest.fixture
def use_detector(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeDetector], list[tuple]]:
    """Puts a detector in place of the one that is loaded; gives the arguments it is loaded with."""

    def use(detector: FakeDetector) -> list[tuple]:
        loaded: list[tuple] = []
        monkeypatch.setattr(
            "detector.pipeline.load_detector",
            lambda model, device, config, source: loaded.append((model, device)) or detector,
        )
        return loaded

    return use


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Detections as `detect --json` writes them: the cat is found, and on c something that is no dog."""

    def entry(image: str, seconds: float, *detections: tuple[str, float, list[int]]) -> dict:
        items = [
            {"label": label, "category_id": VOC_CLASSES.index(label) + 1, "score": score, "box": box}
            for label, score, box in detections
        ]
        return {"image": image, "width": 100, "height": 80, "seconds": seconds, "detections": items}

    entries = [
        entry("photos/c.jpg", 0.25, ("dog", 0.5, [50, 50, 60, 60]), ("dog", 0.25, [0, 0, 20, 20])),
        entry("photos/a.jpg", 0.5, ("cat", 0.75, [0, 0, 50, 40])),
        entry("photos/b.jpg", 0.75),
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(entries))
    return path


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


def test_a_model(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    loaded = use_detector(FakeDetector())
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, _ = run(
        "--model", "my.safetensors", "--device", "cpu", "--json", result, "--save-detections", saved
    )
    assert code == 0
    assert loaded == [(Path("my.safetensors"), "cpu")]
    content = json.loads(result.read_text())
    assert (content["model"], content["images"], content["metric"]) == ("my.safetensors", 3, "voc07")
    assert content["seconds_per_image"] >= 0
    # The detections that were saved give the same result.
    again = tmp_path / "again.json"
    code, out_again, _ = run("--detections", saved, "--json", again)
    assert code == 0
    assert out_again == out
    differing = {"model": None, "detections": str(saved)}
    assert json.loads(again.read_text()) == content | differing


def test_the_model_that_is_installed(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    loaded = use_detector(FakeDetector())
    code, _, _ = run("--json", tmp_path / "result.json")
    assert code == 0
    assert [(path.suffix, device) for path, device in loaded] == [(".safetensors", "auto")]
    assert json.loads((tmp_path / "result.json").read_text())["model"] == str(loaded[0][0])


def test_limit(run: Run, use_detector: Callable, found: Path) -> None:
    detector = FakeDetector()
    use_detector(detector)
    assert "2 images of val" in run("--limit", 2)[1]
    assert detector.calls == 2
    # The entry of c is beyond the limit, and no mistake.
    code, out, _ = run("--limit", 2, "--detections", found)
    assert code == 0
    assert "2 images of val" in out
    assert out.endswith("1 entries of images that are not in the data set, left out\n")


def test_classes(run: Run, use_detector: Callable, found: Path) -> None:
    use_detector(FakeDetector())
    for options in ([], ["--detections", found]):
        code, out, _ = run("--classes", "cat, horse", *options)
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()[:4]] == ["class", "cat", "horse", "mAP"]
    assert run("--classes", " , ")[::2] == (
        2,
        "error: --classes names no class; give names with commas between them\n",
    )


def test_the_classes_of_a_model_of_ones_own(run: Run, use_detector: Callable) -> None:
    detector = FakeDetector()
    detector.class_names = ("dog", "cat")  # type: ignore[assignment]
    detector.detect = lambda image, score: Detections(  # type: ignore[method-assign]
        [(0, 0, 50, 40)], [0.9], [1], ("dog", "cat"), (image.width, image.height)
    )
    use_detector(detector)
    code, out, _ = run()
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["class", "dog", "cat", "mAP"]
    assert out.splitlines()[2].split()[-1] == "100.0"


def test_a_failed_image(run: Run, use_detector: Callable, root: Path, tmp_path: Path) -> None:
    use_detector(FakeDetector())
    (root / "JPEGImages/a.jpg").write_bytes(b"no photo")
    code, out, err = run("--json", tmp_path / "result.json")
    assert code == 2
    assert err.splitlines()[0].startswith("a: ")
    assert err.splitlines()[-1].startswith("error: 1 of 3 images failed, first a: ")
    assert "1 images failed; their objects count as not found" in out
    content = json.loads((tmp_path / "result.json").read_text())
    assert list(content["failed"]) == ["a"]
    assert content["AP"]["cat"] == 0


def test_an_image_without_an_entry(run: Run, found: Path) -> None:
    found.write_text(json.dumps(json.loads(found.read_text())[1:]))
    code, out, err = run("--detections", found)
    assert code == 2
    assert err == f"error: 1 of 3 images failed, first c: {found} has no entry for it\n"
    assert "mAP" in out


def test_an_interruption(run: Run, use_detector: Callable, tmp_path: Path) -> None:
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    result, saved = tmp_path / "result.json", tmp_path / "saved.json"
    code, out, err = run("--json", result, "--save-detections", saved)
    assert (code, out, err) == (130, "", "interrupted: the evaluation is not complete; the same command goes on\n")
    assert not result.exists()
    assert not saved.exists()
    again = FakeDetector()
    use_detector(again)
    assert run("--json", result, "--save-detections", saved)[0] == 0
    assert again.calls == 2
    assert len(json.loads(saved.read_text())) == 3
    use_detector(FakeDetector(stop=2, failure=KeyboardInterrupt()))
    assert run()[2] == "interrupted: the evaluation is not complete\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detections", "none.json"], "none.json: cannot be read: No such file or directory"),
        (["--detections", "x", "--model", "y"], "--model means nothing with --detections, which runs no model; leave"),
        (["--detections", "x", "--save-detections", "y"], "--save-detections means nothing with --detections, which"),
        (["--compare", "x", "y", "--config", "z"], "--config means nothing with --compare, which runs no model"),
        (["--compare", "x", "y", "--report", "z"], "--report means nothing with --compare; leave it out"),
        (["--iou", "0.5,high"], "--iou: 'high' is no number"),
        (["--dataset", "coco"], "--split means nothing with --dataset coco; leave it out"),
        (["--class-map", "x"], "--class-map means nothing with --dataset voc; leave it out"),
        (["--format", "csv"], "--format means nothing with a model"),
        (["--json", "x.json", "--report", "./x.json"], "--report x.json: is the file of --json too; give another file"),
        (["--detections", "x.json", "--export", "csv", "x.json"], "--export x.json: is what is read; give another"),
        (["--export", "xml", "x"], "unknown format of detections 'xml', known are"),
        (["--detections", "x.json", "--json", "x.json"], "--json x.json: is what is read; give another file"),
        (["--dataset", "yolo"], "--dataset yolo needs --annotations: the data.yaml"),
        (["--dataset", "ilsvrc", "--annotations", "x"], "--dataset ilsvrc needs --split, the list file, and --class"),
        (["--model", "x", "--model", "y"], "--model is one for --dataset voc; --config averages several"),
        (["--crops", "10"], "--crops means nothing with --dataset voc; leave it out"),
        (["--ablation", "--metric", "voc10"], "--metric means nothing with --ablation; leave it out"),
        (["--json", "."], "--json .: is a folder; give the name of a file"),
        (["--json", "/dev/null/x.json"], "--json /dev/null/x.json: /dev/null is not a folder"),
        (["--save-detections", "/dev/null/x.json"], "--save-detections /dev/null/x.json: /dev/null is not a folder"),
    ],
)
def test_wrong_options(run: Run, options: list[str], message: str) -> None:
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("options", [["--metric", "voc"], ["--limit", "0"], ["--dataset", "oid"]])
def test_options_out_of_range(run: Run, options: list[str]) -> None:
    code, _, err = run(*options)
    assert code == 2
    assert f"Invalid value for '{options[0]}'" in err


def test_a_missing_split(run: Run, root: Path) -> None:
    path = root / "ImageSets/Main/test.txt"
    assert run(split="test") == (2, "", f"error: {path}: no such split; there are: val\n")


def test_the_report_tells_what_became_of_the_objects(
    run: Run, found: Path, root: Path, photos: Path, tmp_path: Path
) -> None:
    page = tmp_path / "why.html"
    code, out, _ = run("--detections", found, "--report", page)
    assert code == 0
    assert out.endswith(f"why-report -> {page}\n")
    assert "val" in page.read_text(encoding="utf-8")
    # A model of ours tells more: the traces are in the file that it saves, and a report from that has them too.
    for name in "abc":
        Image.open(photos / "cat.jpg").resize((100, 80)).save(root / f"JPEGImages/{name}.jpg")
    saved, traced = tmp_path / "saved.json", tmp_path / "traced.html"
    assert run("--report", traced, "--save-detections", saved, "--device", "cpu")[0] == 0
    entries = json.loads(saved.read_text())
    assert [len(entry["objects"]["sources"]) for entry in entries] == [1, 0, 1]
    assert {name for entry in entries for name in entry["objects"]["sources"]} == {"selective_search"}
    assert run("--report", page, "--detections", saved)[0] == 0
    for html in (page, traced):
        assert "selective_search" in html.read_text(encoding="utf-8")


def test_files_that_lack_images_are_compared_with_a_warning(run: Run, found: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.json"
    part.write_text(json.dumps(json.loads(found.read_text())[1:]))
    code, out, err = run("--compare", found, part)
    assert code == 2
    assert "mAP" in out
    assert err == f"error: {part}: 1 of 3 images failed; their objects count as not found\n"


def test_other_formats_are_written_and_read(run: Run, found: Path, tmp_path: Path) -> None:
    plain = run("--detections", found)[1]
    for name in ("csv", "voc", "coco"):
        code, out, _ = run("--detections", found, "--export", name, tmp_path / name)
        assert code == 0
        assert f"detections, as {name} -> {tmp_path / name}\n" in out
        again = run("--detections", tmp_path / name, "--format", name)[1]
        assert again.splitlines()[:22] == plain.splitlines()[:22]
    code, _, err = run("--detections", found, "--export", "xml", tmp_path / "x")
    assert (code, err) == (2, "error: unknown format of detections 'xml', known are " + ", ".join(FORMATS) + "\n")


@pytest.mark.parametrize("names", [("cat", "dog"), ("airplane", "dog", "tv", "cat")])
def test_a_model_is_judged_by_the_classes_that_it_knows(
    make_voc: Callable[..., Path], use_detector: Callable, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    root = make_voc({"a": [("cat", (1, 1, 50, 40), 0), ("horse", (1, 1, 9, 9), 0)], "b": []})
    detector = FakeDetector()
    detector.class_names = names  # type: ignore[assignment]
    label = names.index("cat")
    detector.detect = lambda image, score: Detections(  # type: ignore[method-assign]
        [(0, 0, 50, 40)], [0.9], [label], names, (image.width, image.height)
    )
    use_detector(detector)
    code, out, _ = evaluated(capsys, "--root", root, "--split", "val")
    assert code == 0
    rows = [line.split()[0] for line in out.splitlines()[1 : 1 + len(names)]]
    assert rows == [{"airplane": "aeroplane", "tv": "tvmonitor"}.get(name, name) for name in names]
    assert "classes that the model does not know, not judged: horse\n" in out


def test_two_files_are_compared(run: Run, found: Path, tmp_path: Path) -> None:
    entries = json.loads(found.read_text())
    entries[0]["detections"] = entries[0]["detections"][1:]  # without the false dog
    better, result = tmp_path / "better.json", tmp_path / "result.json"
    better.write_text(json.dumps(entries))
    code, out, _ = run("--compare", found, better, "--metric", "voc10", "--json", result)
    assert code == 0
    assert out.splitlines()[0] == f"A is {found}, B is {better}"
    row = next(line for line in out.splitlines() if line.startswith("mAP"))
    assert row.split()[1:5] == ["2", "75.0", "100.0", "+25.0"]
    content = json.loads(result.read_text())
    assert content["AP"]["dog"]["difference"] == 0.5
    assert content["images"][0]["image"] == "c"


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """Annotations and detections in COCO's formats: of two cats one is found; kites are a class that VOC lacks."""
    annotations, detections = tmp_path / "instances.json", tmp_path / "results.json"
    objects = [(1, 7, 17, [0, 0, 50, 40]), (2, 0, 17, [0, 0, 20, 20]), (3, 0, 38, [5, 5, 20, 20])]
    content = {
        "images": [{"id": i, "file_name": f"{n}.jpg", "width": 100, "height": 80} for i, n in ((7, "a"), (0, "c"))],
        "categories": [{"id": 38, "name": "kite"}, {"id": 17, "name": "cat"}, {"id": 62, "name": "chair"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, image, c, box in objects
        ],
    }
    annotations.write_text(json.dumps(content))
    detections.write_text(json.dumps([
        {"image_id": 7, "category_id": 17, "bbox": [0, 0, 50, 40], "score": 0.9},
        {"image_id": 99, "category_id": 17, "bbox": [0, 0, 50, 40], "score": 0.9},
    ]))  # fmt: skip
    return annotations, detections


def evaluated(capsys: pytest.CaptureFixture[str], *options: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *map(str, options)])
    captured = capsys.readouterr()
    return int(str(caught.value.code)), captured.out, captured.err


def test_coco_without_images(coco: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1], "--json", result)
    code, out, err = evaluated(capsys, *options)
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


def test_a_model_on_coco_is_judged_by_the_classes_it_knows(
    coco: tuple[Path, Path], root: Path, use_detector: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_detector(FakeDetector())
    annotations, result = coco[0], tmp_path / "result.json"
    options = ("--dataset", "coco", "--annotations", annotations, "--root", root / "JPEGImages", "--json", result)
    code, out, _ = evaluated(capsys, *options)
    assert code == 0
    content = json.loads(result.read_text())
    assert list(content["classes"]) == ["cat", "chair"]
    assert out.endswith("classes that the model does not know, not judged: kite\n")
    code, _, err = evaluated(capsys, "--dataset", "coco", "--annotations", annotations)
    assert (code, err) == (2, "error: give --root, the folder of the photos, or --detections\n")


def test_empty_detections_of_coco_are_kept_on_request(
    coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(coco[1].read_text())
    coco[1].write_text(json.dumps([found[0] | {"bbox": [0, 0, 0, 40], "score": 1}, *found]))
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1])
    code, _, err = evaluated(capsys, *options)
    assert code == 2
    assert "record 1" in err
    code, out, _ = evaluated(capsys, *options, "--keep-empty-boxes")
    assert code == 0
    assert "AP 12.6" in out  # a false positive before the hit: half the precision up to half the recall


def test_empty_boxes_of_coco_are_left_out_on_request(
    coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(coco[0].read_text())
    content["annotations"][1]["bbox"] = [5, 5, 0, 9]
    coco[0].write_text(json.dumps(content))
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1])
    code, _, err = evaluated(capsys, *options)
    assert code == 2
    assert "annotations[1] (id 2)" in err
    code, out, _ = evaluated(capsys, *options, "--skip-empty-boxes")
    assert code == 0
    assert "1 annotations whose box has no width or height are left out" in out


def test_other_metrics_and_classes_of_coco(coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dataset", "coco", "--annotations", coco[0], "--detections", coco[1], "--metric", "voc10")
    assert "mAP at IoU 0.5: 25.0, 0.75: 25.0" in evaluated(capsys, *options, "--iou", "0.5,0.75")[1]
    code, out, _ = evaluated(capsys, *options, "--classes", "cat")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["class", "cat", "mAP"]
    code, _, err = evaluated(capsys, *options, "--classes", "lynx")
    assert (code, err) == (2, "error: no class 'lynx'; there are kite, cat, chair\n")


def test_ilsvrc(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    code, out, _ = evaluated(capsys, *options)
    assert code == 0
    assert "domestic cat        1           2   50.0" in out
    assert "left out: n99999999 (1)" in out
    code, out, _ = evaluated(capsys, *options, "--blacklist", tmp_path / "blacklist.txt")
    assert "domestic cat        1           1  100.0" in out
    assert "1 pairs of an image and a class are on the blacklist" in out


def test_several_processes_find_what_one_does(root: Path, tmp_path: Path, photos: Path) -> None:
    for name in "abc":
        Image.open(photos / "cat.jpg").resize((100, 80)).save(root / f"JPEGImages/{name}.jpg")
    tool = str(Path(__file__).parents[2] / "tools/evaluate.py")
    options = ["--root", str(root), "--split", "val", "--device", "cpu"]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", tool]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for start, file in (([sys.executable, tool], one), (launch, two)):
        command = [*start, *options, "--save-detections", str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("mAP ") == 2  # the result is told once: the row of the mean, and the sizes
    assert [e | {"seconds": 0} for e in json.loads(one.read_text())] == [
        e | {"seconds": 0} for e in json.loads(two.read_text())
    ]
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == ["one.json", "two.json"]


def test_stored_detections_need_no_torch(root: Path, found: Path) -> None:
    program = (
        "import sys; from detector.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules)\n"
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
