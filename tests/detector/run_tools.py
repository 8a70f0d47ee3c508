"""What the tests of runs share: a detector that answers by rule, and runs of it in the working directory."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detector.errors import InputError
from detector.runner.results import ResultFiles
from detector.runner.run import DetectionRun, RunOutput
from detector.runner.sources import find_media
from detector.runner.video import Video
from detector.structures.detections import Detections
from detector.structures.image import Image
from detector.structures.selection import Selection

CLASSES = ("bird", "cat", "traffic light")


class RuleDetector:
    """Sees a cat in the left half and a traffic light in the right third of everything."""

    class_names = CLASSES
    class_ids = (16, 17, 10)

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
        self.detector: Any = RuleDetector()
        self.told = Told()

    def __call__(
        self,
        *arguments: str,
        selection: Selection | None = None,
        step: int = 1,
        files: ResultFiles | None = None,
        out: str | None = "out",
        batch: int = 1,
        workers: int = 1,
        **choices: bool,
    ) -> int:
        self.told = Told()
        media = [one for one in find_media(arguments) if not isinstance(one, InputError)]
        output = RunOutput.choose(None if out is None else Path(out), files or ResultFiles(), media, **choices)
        run = DetectionRun(
            self.detector, selection or Selection(), output, self.told, frame_step=step, batch=batch, workers=workers
        )
        return run(media)


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


# Every kind of result.
ALL = ResultFiles(
    json=Path("r/f.json"),
    jsonl=Path("r/f.jsonl"),
    csv=Path("r/f.csv"),
    coco=Path("r/f.coco.json"),
    yolo=Path("r/yolo"),
    voc=Path("r/voc"),
    crops=Path("r/crops"),
)


class Stop(BaseException):
    """A kill: nothing is caught and nothing is written after it."""


def stop_at(name: str, error: type[BaseException] = KeyboardInterrupt) -> Callable[[str], None]:
    def before(image: str) -> None:
        if image == name:
            raise error

    return before
