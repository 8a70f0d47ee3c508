"""Tracks of a made video: two cats that cross, one from the left and one from the right, and a dog that stays."""

import json
from pathlib import Path

import numpy as np
import pytest

from detector.errors import InputError
from detector.runner.frame_detector import FrameDetector
from detector.runner.sources import find_media
from detector.runner.stream import stream
from detector.runner.tracking import Tracker
from detector.runner.video import VideoWriter
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.selection import Selection
from tests.tools.detect_tools import RuleDetector, run

pytest.importorskip("trackers")

CLASSES = ("bird", "cat", "dog")
FRAMES = 24


class ColorDetector(RuleDetector):
    """Sees a cat in red and in green, and a dog in blue; the green cat is unsure in every fourth frame."""

    def detect(self, image: Image, score: float) -> Detections:
        boxes, scores, labels = [], [], []
        number = int(image.name.partition("#")[2])
        for channel, label in ((0, 1), (1, 1), (2, 2)):
            rows, columns = np.nonzero(image.pixels[:, :, channel] > 128)
            if len(rows):
                boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
                scores.append(0.3 if channel == 1 and number % 4 == 3 else 0.9)
                labels.append(label)
        found = Detections(boxes, scores, labels, CLASSES, (image.width, image.height), self.class_ids)
        return found.filter(score=score)


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for index in range(FRAMES):
            frame = np.zeros((160, 320, 3), np.uint8)
            frame[10:40, 10 + 10 * index : 50 + 10 * index, 0] = 255
            frame[60:90, 270 - 10 * index : 310 - 10 * index, 1] = 255
            frame[110:150, 20:80, 2] = 255
            writer.write(frame)
    return Path("clip.mp4")


def tracked(clip: Path, selection: Selection = Selection()) -> list[Detections]:  # noqa: B008
    detector = FrameDetector(ColorDetector(), selection, workers=1, batch=1, draw=False)
    return list(stream(detector, find_media([str(clip)]), track=True))


def test_ids_are_stable_and_unsure_detections_continue_a_track(clip: Path):
    results = tracked(clip)
    assert len(results) == FRAMES
    by_track: dict[int, set[tuple[str, float]]] = {}
    for result in results[1:]:
        assert len(result) == 3
        for one in result:
            assert one.track_id is not None
            by_track.setdefault(one.track_id, set()).add((one.label, round(one.box[1] / 50)))
    assert sorted(by_track) == [1, 2, 3]
    assert {len(places) for places in by_track.values()} == {1}, "each track is one object"
    assert [one.track_id for one in results[0]] == [None] * 3


def test_the_selection_holds_for_tracks(clip: Path):
    assert {one.label for result in tracked(clip, Selection(classes=("dog",))) for one in result} == {"dog"}
    assert {len(result) for result in tracked(clip, Selection(max_detections=2))[1:]} == {2}


def test_a_class_with_a_higher_score_starts_no_track_below_it():
    selection = Selection(class_scores={"cat": 0.9})
    tracker = Tracker(selection, 30)
    for index in range(3):
        box = [10 + index, 10, 60 + index, 60]
        found = Detections([box, [100, 10, 150, 60]], [0.6, 0.6], [1, 2], CLASSES, (200, 100))
        tracked = tracker(Tracker.candidates(selection)(found))
        assert [one.label for one in tracked] == ["dog"]
    assert tracker.counts == {"dog": 1}


def test_objects_and_crossings_are_counted(clip: Path):
    tracker = Tracker(Selection(), 10, (160, 0, 160, 160))
    for result in tracked(clip):
        tracker(Detections(result.boxes, result.scores, result.labels, CLASSES, result.image_size, result.class_ids))
    assert tracker.counts == {"cat": 2, "dog": 1}
    assert tracker.crossings == {"cat": (1, 1)}
    with pytest.raises(InputError, match="line"):
        Tracker(Selection(), 10, (1, 2, 1, 2))


def test_the_command_writes_tracks_and_counts(clip: Path, monkeypatch, capsys):
    monkeypatch.setattr("detector.inference.assembly.load_pipeline", lambda *_: ColorDetector())
    options = ("--track", "--line", "160,0,160,160", "--jsonl", "t.jsonl", "--csv", "t.csv")
    assert run(str(clip), *options) == 0
    out = capsys.readouterr().out
    assert "clip.mp4: 3 tracks (cat 2, dog 1); across the line: cat 1 in, 1 out" in out
    assert out.splitlines()[-1] == "written: runs/detect, t.jsonl, t.csv"
    last = json.loads(Path("t.jsonl").read_text().splitlines()[-1])
    assert sorted(one["track_id"] for one in last["detections"]) == [1, 2, 3]
    header, first, *_, row = Path("t.csv").read_text().splitlines()
    assert header.endswith(",track_id")
    assert first.endswith(",")
    assert row.rpartition(",")[2] in "123"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("a.jpg", "--track"), "--track"),
        (("clip.mp4", "--line", "1,2,3,4"), "--track"),
        (("clip.mp4", "--track", "--line", "1,2,3"), "--line 1,2,3"),
    ],
)
def test_wrong_options(clip: Path, capsys, arguments: tuple[str, ...], word: str):
    Path("a.jpg").touch()
    assert run(*arguments) == 2
    assert word in capsys.readouterr().err
