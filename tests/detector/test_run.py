"""Runs over photos and videos: what they leave on the disk, what they tell, and how they are gone on with."""

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from defusedxml.ElementTree import parse
from PIL import Image as PillowImage

from detector.data.ground_truth import GroundTruth
from detector.detections import Detections
from detector.errors import InputError
from detector.evaluation.formats import read_detections
from detector.images import Image
from detector.results import ResultFiles
from detector.run import JOURNAL, DetectionRun, RunPlace
from detector.selection import Selection
from detector.sources import Source, find_media
from detector.video import Video

CLASSES = ("bird", "cat", "traffic light")


class RuleDetector:
    """Sees a cat in the left half and a traffic light in the right third of everything."""

    class_names = CLASSES

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.before: Callable[[str], None] = lambda name: None

    def detect(self, image: Image, score: float) -> Detections:
        self.before(image.name)
        self.seen.append(image.name)
        width, height = image.width, image.height
        boxes = [[0, 0, width / 2, height], [width * 2 / 3, 1, width, height - 1]]
        return Detections(boxes, [0.9, 0.6], [1, 2], CLASSES, (width, height)).filter(score=score)


class Told:
    """The lines that a run tells."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.errors: list[str] = []
        self.totals: list[int | None] = []

    def result(self, line: str) -> None:
        self.results.append(line)

    def error(self, line: str) -> None:
        self.errors.append(line)

    def progress(self, items: Iterable[Any], unit: str, total: int | None = None) -> Iterable[Any]:
        self.totals.append(total)
        return items


class Runs:
    """Starts runs, each with what is given here, in the working directory."""

    def __init__(self) -> None:
        self.detector, self.told = RuleDetector(), Told()

    def __call__(
        self,
        *arguments: str,
        selection: Selection | None = None,
        step: int = 1,
        files: ResultFiles | None = None,
        out: str | None = "out",
        **choices: bool,
    ) -> int:
        self.told = Told()
        media = [one for one in find_media(arguments) if not isinstance(one, InputError)]
        place = RunPlace.choose(None if out is None else Path(out), files or ResultFiles(), media, **choices)
        run = DetectionRun(self.detector, selection or Selection(), place, self.told, frame_step=step)
        return run(media)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """In a folder with a/x.jpg (90x60), b/x.jpg and b/y.png (60x40), and clip.avi (64x48, 10 frames, 5 a second)."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("a/x.jpg", (90, 60)), ("b/x.jpg", (60, 40)), ("b/y.png", (60, 40))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PillowImage.new("RGB", size, (40, 90, 160)).save(tmp_path / name)
    make_clip("clip.avi")
    return Runs()


def make_clip(name: str, frames: int = 10) -> None:
    writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 20 * index % 256, np.uint8))
    writer.release()


def files(folder: str | Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def frames_of(path: str) -> list[np.ndarray]:
    with Video(Path(path)).open() as reader:
        return [frame.image.pixels for frame in reader.frames()]


ALL = ResultFiles(
    json=Path("r/f.json"),
    jsonl=Path("r/f.jsonl"),
    csv=Path("r/f.csv"),
    coco=Path("r/f.coco.json"),
    yolo=Path("r/yolo"),
    voc=Path("r/voc"),
    crops=Path("r/crops"),
)


def test_every_format_of_photos_and_a_video(runs):
    assert runs("b", "a/x.jpg", "clip.avi", step=4, files=ALL) == 0
    images = ["b/x.jpg", "b/y.png", "a/x.jpg", "clip.avi#0", "clip.avi#4", "clip.avi#8"]
    stems = ["x", "y", "x-2", "clip#000000", "clip#000004", "clip#000008"]
    assert runs.detector.seen == images
    assert files("out") == ["clip.mp4", "x-2.jpg", "x.jpg", "y.png"]

    entries = json.loads(Path("r/f.json").read_text())
    assert [json.loads(line) for line in Path("r/f.jsonl").read_text().splitlines()] == entries
    assert [entry["image"] for entry in entries] == images
    assert {key: entries[4][key] for key in ("video", "frame", "time", "width", "height")} == {
        "video": "clip.avi",
        "frame": 4,
        "time": 0.8,
        "width": 64,
        "height": 48,
    }
    with open("r/f.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "class", "score", "x1", "y1", "x2", "y2"]
    assert rows[5] == ["a/x.jpg", "cat", "0.9", "0.0", "0.0", "45.0", "60.0"]
    results = json.loads(Path("r/f.coco.json").read_text())
    assert results[5] == {"image_id": "a/x.jpg", "category_id": 3, "bbox": [60, 1, 30, 58], "score": 0.6}
    assert files("r/yolo") == sorted(f"{stem}.txt" for stem in stems)
    assert files("r/voc") == sorted(f"{stem}.xml" for stem in stems)
    assert Path("r/yolo/x-2.txt").read_text().splitlines()[0] == "1 0.25 0.5 0.5 1.0 0.9"
    tree = parse("r/voc/x-2.xml")
    assert (tree.findtext("filename"), tree.findtext("size/width")) == ("x.jpg", "90")
    assert [[one.text for one in found.find("bndbox")] for found in tree.iterfind("object")] == [
        ["1", "1", "45", "60"],
        ["61", "2", "90", "59"],
    ]
    assert tree.findtext("object/confidence") == "0.9"
    crops = files("r/crops")
    assert crops == sorted([f"cat/{stem}-1.jpg" for stem in stems] + [f"traffic light/{stem}-2.jpg" for stem in stems])
    with PillowImage.open("r/crops/traffic light/x-2-2.jpg") as crop:
        assert crop.size == (30, 58)


def test_the_formats_are_read_again_by_the_evaluation(runs):
    assert runs("b", "a/x.jpg", files=ALL) == 0
    truth = GroundTruth(
        image_ids=("b/x.jpg", "b/y.png", "a/x.jpg"),
        class_names=CLASSES,
        images=[],
        labels=[],
        boxes=np.zeros((0, 4)),
        image_sizes=np.array([[60, 40], [60, 40], [90, 60]]),
        files=("x.jpg", "y.png", "x-2.jpg"),
    )
    tables = [read_detections(path, truth).table for path in (ALL.json, ALL.csv, ALL.coco, ALL.yolo) if path]
    for table in (table[np.lexsort((-table.scores, table.images))] for table in tables):
        np.testing.assert_allclose(table.boxes, tables[0].boxes, atol=0.01)
        np.testing.assert_array_equal(table.images, [0, 0, 1, 1, 2, 2])
        np.testing.assert_array_equal(table.labels, [1, 2] * 3)


def test_images_that_are_named_by_numbers_have_cocos_ids(runs):
    for name in ("000000000139.jpg", "000000000285.jpg"):
        PillowImage.new("RGB", (60, 40)).save(name)
    assert runs("000000000139.jpg", "000000000285.jpg", files=ResultFiles(coco=Path("f.json"))) == 0
    assert [one["image_id"] for one in json.loads(Path("f.json").read_text())] == [139, 139, 285, 285]


@pytest.mark.parametrize("name", ["été 日本.jpg", "a b?*:.jpg", "x.tar.jpg", 'quoted "name", comma.jpg', "&<x>.jpg"])
def test_names_with_any_letters(runs, name):
    PillowImage.new("RGB", (60, 40)).save(name)
    assert runs(name, files=ALL) == 0
    assert runs.told.errors == []
    stem = name.removesuffix(".jpg")
    assert (files("out"), files("r/yolo"), files("r/voc")) == ([name], [f"{stem}.txt"], [f"{stem}.xml"])
    assert parse(f"r/voc/{stem}.xml").findtext("filename") == name
    with open("r/f.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1][0] == name


def test_nothing_found_is_a_result_too(runs):
    assert runs("a/x.jpg", selection=Selection(score=0.95), files=ALL) == 0
    assert json.loads(Path("r/f.json").read_text())[0]["detections"] == []
    assert json.loads(Path("r/f.coco.json").read_text()) == []
    assert Path("r/f.csv").read_text() == "image,class,score,x1,y1,x2,y2\n"
    assert Path("r/yolo/x.txt").read_text() == ""
    assert files("r/crops") == []


def test_an_annotated_video(runs):
    """Every frame is drawn on, and plays at the pace of the original, also with a step."""
    assert runs("clip.avi") == 0
    (line,) = runs.told.results
    assert line.startswith("clip.avi: 20 objects (cat 10, traffic light 10) in 10 frames, ")
    assert line.endswith(" s -> out/clip.mp4")
    assert runs.told.totals == [None, 10]
    before, after = frames_of("clip.avi"), frames_of("out/clip.mp4")
    assert len(after) == 10
    for one, other in zip(before, after, strict=True):
        different = np.abs(one.astype(int) - other).max(axis=2) > 60
        assert 0.05 < different.mean() < 0.6, "boxes and labels"
    assert runs("clip.avi", step=3, out="slow") == 0
    with Video(Path("slow/clip.mp4")).open() as reader:
        assert reader.frame_rate == pytest.approx(5 / 3, rel=0.01)
        assert reader.frame_count == 4


def test_without_pictures(runs):
    assert runs("a/x.jpg", "clip.avi", files=ResultFiles(json=Path("f.json")), draw=False) == 0
    assert files("out") == []
    assert len(json.loads(Path("f.json").read_text())) == 11
    assert not any("->" in line for line in runs.told.results)


def test_a_damaged_video_keeps_what_was_found_and_the_others_go_on(runs):
    make_clip("cut.avi", 60)
    content = Path("cut.avi").read_bytes()
    Path("cut.avi").write_bytes(content[: len(content) * 2 // 3])
    Path("text.mp4").write_text("no video")
    assert runs("cut.avi", "text.mp4", "a/x.jpg", "97", files=ResultFiles(json=Path("f.json"))) == 3
    cut, text, camera = runs.told.errors
    assert cut.startswith("error: cut.avi: damaged or cut short: ")
    assert text.startswith("error: text.mp4: damaged, or not a video in a known format")
    assert camera.startswith("error: camera 97: cannot be opened")
    names = [entry["image"] for entry in json.loads(Path("f.json").read_text())]
    assert 20 <= len(names) - 1 <= 50
    assert names[-1] == "a/x.jpg"
    assert len(frames_of("out/cut.mp4")) == len(names) - 1
    assert files("out") == ["cut.mp4", "x.jpg"]


class Stop(BaseException):
    """A kill: nothing is caught and nothing is written after it."""


def stop_at(name: str, error: type[BaseException] = KeyboardInterrupt) -> Callable[[str], None]:
    def before(image: str) -> None:
        if image == name:
            raise error

    return before


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_an_interrupted_run_goes_on_where_it_was(runs, error):
    """The results are those of a run in one go; nothing that was done is done again, but the video that was not."""
    arguments = ("a/x.jpg", "clip.avi", "b")
    assert runs(*arguments, files=ALL) == 0
    whole = {path: Path("r", path).read_bytes() for path in files("r") if "json" not in path}
    entries = json.loads(Path("r/f.json").read_text())
    pictures = files("out")
    shutil.rmtree("r")
    shutil.rmtree("out")
    runs.detector.before = stop_at("clip.avi#4", error)
    with pytest.raises(error):
        runs(*arguments, files=ALL)
    assert len(frames_of("out/clip.mp4")) == 4, "what was done can be played"
    assert [entry["image"] for entry in json.loads(Path("r/f.json").read_text())][-1] == "clip.avi#3"
    assert files("out") == ["clip.mp4", JOURNAL, "x.jpg"]

    runs.detector = RuleDetector()
    assert runs(*arguments, files=ALL, resume=True) == 0
    assert runs.told.results[0] == "1 of 4 are done already"
    assert runs.detector.seen == [f"clip.avi#{index}" for index in range(10)] + ["b/x.jpg", "b/y.png"]
    assert files("out") == pictures
    assert len(frames_of("out/clip.mp4")) == 10
    assert {path: Path("r", path).read_bytes() for path in files("r") if "json" not in path} == whole
    again = json.loads(Path("r/f.json").read_text())
    assert [json.loads(line) for line in Path("r/f.jsonl").read_text().splitlines()] == again
    for entry in (*entries, *again):
        del entry["seconds"]
    assert again == entries


def test_an_interrupted_run_is_not_overwritten_nor_mixed_with_another(runs):
    runs.detector.before = stop_at("b/y.png")
    with pytest.raises(KeyboardInterrupt):
        runs("b")
    runs.detector.before = lambda name: None
    with pytest.raises(InputError, match=r"^--out out: has an interrupted run: --resume goes on, --overwrite starts"):
        runs("a")
    with pytest.raises(InputError, match=r"with other settings \(score was 0.5, is 0.6\)"):
        runs("b", selection=Selection(score=0.6), resume=True)
    with pytest.raises(InputError, match="give one of them"):
        runs("b", resume=True, overwrite=True)
    assert runs("b", selection=Selection(score=0.6), overwrite=True) == 0
    assert files("out") == ["x.jpg", "y.png"]


def test_a_run_in_a_folder_of_its_own_choice_is_found_again(runs, monkeypatch):
    assert runs("b/y.png", out=None) == 0
    runs.detector.before = stop_at("b/y.png")
    with pytest.raises(KeyboardInterrupt):
        runs("b", out=None)
    assert files("runs") == ["detect-2/unfinished.jsonl", "detect-2/x.jpg", "detect/y.png"]
    runs.detector.before = lambda name: None
    assert runs("b", out=None, resume=True) == 0
    assert runs.detector.seen == ["b/y.png", "b/x.jpg", "b/y.png"]
    assert files("runs") == ["detect-2/x.jpg", "detect-2/y.png", "detect/y.png"]
    assert runs("a", out=None, resume=True) == 0, "with nothing to go on with it is a run of its own"
    assert files("runs/detect-3") == ["x.jpg"]


def test_what_is_no_longer_asked_for_is_left_out(runs):
    runs.detector.before = stop_at("b/y.png")
    with pytest.raises(KeyboardInterrupt):
        runs("a/x.jpg", "b", files=ResultFiles(csv=Path("f.csv")))
    runs.detector.before = lambda name: None
    assert runs("b", files=ResultFiles(csv=Path("f.csv")), resume=True) == 0
    assert {row.split(",")[0] for row in Path("f.csv").read_text().splitlines()[1:]} == {"b/x.jpg", "b/y.png"}


@pytest.mark.parametrize(
    ("there", "changes", "message"),
    [
        ("f.csv", {"files": ResultFiles(csv=Path("f.csv"))}, "--csv f.csv: is there already; --overwrite replaces it"),
        ("y/x.txt", {"files": ResultFiles(yolo=Path("y"))}, "--yolo y: is there already; --overwrite replaces it"),
        ("c/cat/x.jpg", {"files": ResultFiles(crops=Path("c"))}, "--crops c: is there already; --overwrite replaces"),
        ("out/x.jpg", {}, "out/x.jpg: is there already; --overwrite replaces it, or give another --out"),
    ],
)
def test_nothing_is_overwritten_without_being_asked(runs, there, changes, message):
    Path(there).parent.mkdir(parents=True, exist_ok=True)
    Path(there).write_text("old")
    with pytest.raises(InputError) as caught:
        runs("a/x.jpg", **changes)
    assert str(caught.value).startswith(message)
    assert (Path(there).read_text(), runs.detector.seen) == ("old", [])
    assert runs("a/x.jpg", **changes, overwrite=True) == 0
    assert files("out") == ["x.jpg"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (ResultFiles(csv=Path("f"), coco=Path("./f")), "--csv and --coco are both f; give two names"),
        (ResultFiles(yolo=Path("a")), "--yolo a: holds photos that are read; give another folder"),
        (ResultFiles(voc=Path("b/y.png")), "--voc b/y.png: b/y.png is not a folder; give another place"),
        (ResultFiles(jsonl=Path("f.png")), "--jsonl f.png: is the name of a photo; give another ending"),
    ],
)
def test_places_that_cannot_be(runs, result, message):
    with pytest.raises(InputError) as caught:
        runs("a/x.jpg", files=result)
    assert str(caught.value) == message


def test_a_place_without_permission(runs, monkeypatch):
    def denied(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)  # chmod would not stop root
    for result, choices, what in (
        (ResultFiles(crops=Path("c")), {}, "--crops c"),
        (ResultFiles(csv=Path("r/f.csv")), {}, "--csv r/f.csv"),
        (None, {}, "--out out"),
        (None, {"draw": False}, "--out out"),
    ):
        with pytest.raises(InputError) as caught:
            runs("a/x.jpg", files=result, **choices)
        assert str(caught.value) == f"{what}: cannot be written (Permission denied); give another place"


def test_a_full_disk_ends_the_run_and_it_can_be_gone_on_with(runs, monkeypatch):
    """Results that could not be kept would be lost: the run stops with one line."""
    from detector import journal

    original = journal._append
    left = 4  # the header, two lines of the first photo, one of the second

    def full(file: Any, line: dict[str, Any]) -> None:
        nonlocal left
        if left == 0:
            raise OSError(28, "No space left on device")
        left -= 1
        original(file, line)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_append", full)
        assert runs("b", "a/x.jpg", files=ResultFiles(json=Path("f.json"))) == 1
    (line,) = runs.told.errors
    kept = "cannot be written (No space left on device); stopped after 1 of 3, --resume goes on"
    assert line == f"error: out/{JOURNAL}: {kept}"
    assert [entry["image"] for entry in json.loads(Path("f.json").read_text())] == ["b/x.jpg", "b/y.png"]
    assert runs("b", "a/x.jpg", files=ResultFiles(json=Path("f.json")), resume=True) == 0
    assert runs.detector.seen[2:] == ["b/y.png", "a/x.jpg"]


def test_a_result_that_cannot_be_written_at_the_end(runs, monkeypatch):
    """The others are written, and what was found stays for --resume."""

    def full(path: Path, entries: object) -> None:
        raise InputError(f"{path}: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr("detector.results.write_json_lines", full)
        assert runs("a", files=ALL) == 1
    assert runs.told.errors == ["error: r/f.json: cannot be written (No space left on device)"]
    assert files("r/yolo") == ["x.txt"]
    assert runs("a", files=ALL, resume=True) == 0
    assert runs.detector.seen == ["a/x.jpg"]
    assert len(json.loads(Path("r/f.json").read_text())) == 1
    assert files("out") == ["x.jpg"]


def test_a_video_that_cannot_be_written_is_judged_to_its_end(runs, monkeypatch):
    count = 0

    def usage(path: Path) -> Any:
        nonlocal count
        count += 1
        return type("usage", (), {"free": 1e9 if count <= 3 else 0})

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert runs("clip.avi", files=ResultFiles(json=Path("f.json"))) == 1
    assert runs.told.errors == ["error: out/clip.mp4: cannot be written (No space left on device)"]
    assert len(json.loads(Path("f.json").read_text())) == 10
    assert len(frames_of("out/clip.mp4")) == 3


def test_ctrl_c_is_how_a_camera_ends(runs, monkeypatch):
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, *more: opened("clip.avi" if name == 0 else name))
    runs.detector.before = stop_at("camera0#6")
    assert runs("0", "a/x.jpg", files=ResultFiles(json=Path("f.json"))) == 0
    assert "camera0#5: cat 0.90 at (0.0, 0.0, 32.0, 48.0)" in runs.told.results
    assert len(json.loads(Path("f.json").read_text())) == 7
    assert files("out") == ["camera0.mp4", "x.jpg"]


def test_memory_stays_flat(runs):
    """What has been found is on the disk only: the run holds no entry."""
    make_clip("long.avi", 150)
    held: list[int] = []
    place = RunPlace.choose(Path("out"), ResultFiles(jsonl=Path("f.jsonl")), [Video(Path("long.avi"))])
    run = DetectionRun(runs.detector, Selection(), place, runs.told)
    runs.detector.seen = []
    import tracemalloc

    def measure(name: str) -> None:
        held.append(tracemalloc.get_traced_memory()[0])
        runs.detector.seen.clear()

    runs.detector.before = measure
    tracemalloc.start()
    try:
        assert run([Video(Path("long.avi"))]) == 0
    finally:
        tracemalloc.stop()
    assert len(held) == 150
    assert max(held[75:]) - max(held[25:75]) < 20_000, "a frame has 9,216 bytes, its entry 500"


def test_an_unknown_class_is_told_before_anything_is_made(runs):
    with pytest.raises(InputError, match="class 'lion' is unknown"):
        runs("a/x.jpg", selection=Selection(classes=("lion",)))
    assert files("out") == []


def test_sources_of_a_zip(runs):
    import zipfile

    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("a/x.jpg")
        archive.write("b/x.jpg")
        archive.writestr("b/z.jpg", b"broken")
    assert runs("photos.zip", files=ResultFiles(json=Path("f.json"))) == 1
    assert runs.told.errors[0].startswith("error: photos.zip/b/z.jpg: not a photo in a known format")
    assert [one["image"] for one in json.loads(Path("f.json").read_text())] == [
        "photos.zip/a/x.jpg",
        "photos.zip/b/x.jpg",
    ]
    assert files("out") == ["x-2.jpg", "x.jpg"]
    assert Source(Path("photos.zip"), "a/x.jpg").name == "photos.zip/a/x.jpg"
