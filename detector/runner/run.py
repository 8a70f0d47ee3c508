"""A detector run over photos and videos: every result kept as it comes, and gone on with after a stop."""

import math
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from detector.errors import InputError
from detector.runner.frame_detector import FrameDetector, ImageResult
from detector.runner.results import LineFile, ResultFiles, frame_entry, photo_entry, save_crops, write_results
from detector.runner.sources import Source
from detector.runner.video import Frame, Video, VideoWriter
from detector.runner.writers import PictureFolder, check_folder, distinct_stems, next_folder
from detector.storage.run_store import OutputError, RunStore, source_of
from detector.structures.detections import Detection, Detections
from detector.structures.image import Image
from detector.structures.selection import Selection

if TYPE_CHECKING:
    from detector.evaluation.predicting import ImageDetector

_T = TypeVar("_T")

JOURNAL = "unfinished.jsonl"
"""Name of the file in the folder of a run that is there until the run is done."""


class Reporter(Protocol):
    """What is told while a run goes on: `detector.cli.console.Console` or anything of the same form."""

    def result(self, line: str) -> None: ...
    def error(self, line: str) -> None: ...
    def progress(self, items: Iterable[_T], unit: str, total: int | None = None) -> Iterable[_T]: ...


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """Where a run writes: checked before the work.

    Attributes:
        folder: of the pictures, if these are wanted, and of the journal.
        files: results in other formats.
        draw: whether pictures and videos are wanted.
        resumed: goes on with an interrupted run.
    """

    folder: Path
    files: ResultFiles
    draw: bool
    resumed: bool

    @classmethod
    def choose(
        cls,
        folder: Path | None,
        files: ResultFiles,
        media: Sequence[Source | Video],
        *,
        draw: bool = True,
        overwrite: bool = False,
        resume: bool = False,
        default: Path = Path("runs/detect"),
    ) -> "RunPlace":
        """folder: None for `default`, or "default-2" and so on where that has been used.

        Raises `InputError` if something cannot be written, or is there already and neither `overwrite` is set nor
        `resume` and it is of an interrupted run.
        """
        if overwrite and resume:
            raise InputError("--overwrite starts anew and --resume goes on: give one of them")
        if folder is None:
            folder = default if overwrite else _newest(default) if resume else next_folder(default)
        journal = folder / JOURNAL
        going_on = resume and journal.exists()
        replaced = overwrite or going_on
        ended = f" (--resume: {folder} has no interrupted run)" if resume else ""
        files.check([one.path for one in media if one.path is not None], replaced, ended)
        if journal.exists() and not replaced:
            raise InputError(f"--out {folder}: has an interrupted run: --resume goes on, --overwrite starts anew")
        if draw:
            there = [path for path in PictureFolder(folder, media).paths if os.path.lexists(path)]
            if there and not replaced:
                raise InputError(f"{there[0]}: is there already; --overwrite replaces it, or give another --out{ended}")
        elif media:
            check_folder(folder, f"--out {folder}")
        return cls(folder=folder, files=files, draw=draw, resumed=going_on)


class DetectionRun:
    """Runs a detector over photos and videos and reports each as it is done.

    What is found in a photo or video counts also where a picture, video or crop of it cannot be written: it is in the
    results, and `--resume` tries that source again.

    Attributes:
        done: how many sources are.
        unwritten: how many files could not be written.
    """

    def __init__(
        self,
        detector: "ImageDetector",
        selection: Selection,
        place: RunPlace,
        reporter: Reporter,
        *,
        frame_step: int = 1,
        workers: int = 1,
        batch: int = 1,
        made_by: dict[str, Any] | None = None,
    ) -> None:
        """frame_step: of videos, only every n-th frame is taken.
        workers: threads that share the detector, each with a photo.
        batch: how many images the networks see at once (`detector.runner.frame_detector.FrameDetector`).
        made_by: what else the results depend on; another run cannot be gone on with.

        Raises `InputError` for a class that the detector does not know.
        """
        selection.check(detector.class_names)
        self.done = self.unwritten = 0
        self._detector, self._place, self._reporter, self._step = detector, place, reporter, frame_step
        self._frame_detector = FrameDetector(detector, selection, workers, batch, place.draw)
        self._made_by = {
            **(made_by or {}),
            "score": selection.score,
            "class scores": dict(selection.class_scores),
            "classes": None if selection.classes is None else sorted(selection.classes),
            "most detections": selection.max_detections,
            "frame step": frame_step,
            "known classes": list(detector.class_names),
        }

    def __call__(self, media: Sequence[Source | Video]) -> int:
        """The number of sources that failed, and of files that could not be written.

        Whatever ends the run, the results so far are written; after an interrupt (Ctrl-C) or a full disk the journal
        stays, from which the run is gone on with.
        """
        self._stems = distinct_stems(media)
        self._pictures = PictureFolder(self._place.folder, media) if self._place.draw else None
        self._store = RunStore(
            self._place.folder / JOURNAL, self._made_by, resume=self._place.resumed, finished_only=True
        )
        self._names = {source.name: stem for source, stem in self._stems.items()}
        lines = self._place.files.jsonl
        self._lines = None if lines is None else LineFile(lines, self._entries())
        todo = [source for source in media if source.name not in self._store.finished]
        self.done = len(media) - len(todo)
        if self.done:
            self._reporter.result(f"{self.done} of {len(media)} are done already")
        failed, complete = 0, False
        judged = self._judged(todo)
        try:
            unit = "source" if any(map(_is_video, todo)) else "photo"
            for source, result in zip(self._reporter.progress(todo, unit), judged, strict=True):
                try:
                    before = self.unwritten
                    if isinstance(source, Video):
                        self._watch(source)
                    else:
                        assert result is not None
                        self._tell(source, result)
                    if self.unwritten == before:
                        self._store.finish(source.name)
                except OutputError:
                    raise
                except InputError as error:
                    self._reporter.error(f"error: {error}")
                    failed += 1
                self.done += 1
            complete = True
        except OutputError as error:
            self._reporter.error(f"error: {error}; stopped after {self.done} of {len(media)}, --resume goes on")
            failed += 1
        finally:
            judged.close()
            self._finish(complete)
        return failed + self.unwritten

    def _finish(self, complete: bool) -> None:
        classes = dict(zip(self._detector.class_names, self._detector.class_ids, strict=True))
        self._tell_unwritten(write_results(self._place.files, self._entries, classes, self._names))
        try:
            if self._lines is not None:
                self._lines.close()
            self._store.close(remove=complete and not self.unwritten)
        except OutputError as error:
            self._tell_unwritten([error])

    def _tell_unwritten(self, errors: Sequence[InputError]) -> None:
        for error in errors:
            self._reporter.error(f"error: {error}")
        self.unwritten += len(errors)

    def _entries(self) -> Iterator[dict[str, Any]]:
        """Of an interrupted run, those of sources that are no longer asked for are left out."""
        return (one for one in self._store.records() if source_of(one) in self._names)

    def _judged(self, media: Sequence[Source | Video]) -> Generator[ImageResult | InputError | None, None, None]:
        """What is found in each photo, or what is wrong with it. A video waits for its turn."""
        with closing(self._frame_detector.photos(one for one in media if not isinstance(one, Video))) as judged:
            for source in media:
                yield None if isinstance(source, Video) else next(judged)

    def _tell(self, source: Source, result: ImageResult | InputError) -> None:
        if isinstance(result, InputError):
            raise result
        image, found, seconds = result.image, result.found, result.seconds
        self._keep(photo_entry(image, source.name, found, seconds))
        for detection in found:
            self._reporter.result(f"{source.name}: {_described(detection)}")
        line = f"{source.name}: {_objects(len(found))} in {image.width}x{image.height} pixels, {seconds:.2f} s"
        try:
            self._cut_out(self._stems[source], image, found)
        except InputError as error:
            self._tell_unwritten([error])
        try:
            if self._pictures is not None and result.picture is not None:
                line += f" -> {self._pictures.save(source, result.picture)}"
        except InputError as error:
            self._tell_unwritten([error])
        self._reporter.result(line)

    def _watch(self, video: Video) -> None:
        """Ctrl-C is how a camera ends, and interrupts a file; what was written until then can be played."""
        with video.open() as reader:
            writer = None
            if self._pictures is not None:
                writer = self._pictures.video(video, max(1.0, reader.frame_rate / self._step))
            task = _Watching(writer)
            try:
                total = None if reader.frame_count is None else math.ceil(reader.frame_count / self._step)
                frames = reader.frames(self._step)
                with closing(self._frame_detector.frames(frames, one_by_one=video.path is None)) as seen:
                    for frame, found, seconds in self._reporter.progress(seen, "frame", total):
                        self._see(video, frame, found, seconds, task)
            except KeyboardInterrupt:
                if video.path is not None:
                    raise
            except InputError as error:
                task.wrong = error
            finally:
                task.close()
        classes = ", ".join(f"{name} {count}" for name, count in task.counts.most_common())
        what = f"{_objects(task.counts.total())}{f' ({classes})' if classes else ''}"
        line = f"{video.name}: {what} in {task.frames} frame{'' if task.frames == 1 else 's'}, {task.seconds:.2f} s"
        if writer is not None and writer.frames:
            line += f" -> {writer.path}"
        self._reporter.result(line)
        self._tell_unwritten(task.unwritten)
        if task.wrong is not None:
            raise task.wrong

    def _see(self, video: Video, frame: Frame, found: Detections, seconds: float, task: "_Watching") -> None:
        self._keep(frame_entry(video, frame, found, seconds))
        task.attempt("crops", lambda: self._cut_out(f"{self._stems[video]}#{frame.index:06d}", frame.image, found))
        if video.path is None:  # nobody waits for the end of a camera
            for one in found:
                self._reporter.result(f"{frame.image.name}: {_described(one)}")
        task.frames += 1
        task.seconds += seconds
        task.counts.update(one.label for one in found)
        task.write(found, frame, frame.time if video.path is None else None)

    def _keep(self, entry: dict[str, Any]) -> None:
        self._store.add(entry)
        if self._lines is not None:
            self._lines.add(entry)

    def _cut_out(self, stem: str, image: Image, found: Detections) -> None:
        if self._place.files.crops is not None:
            save_crops(self._place.files.crops, stem, image, found)


class _Watching:
    """What has come of a video so far.

    Attributes:
        wrong: why it was not seen to its end.
        unwritten: why the annotated video, or crops, end before.
    """

    def __init__(self, writer: VideoWriter | None) -> None:
        self._writer = writer
        self.frames, self.seconds = 0, 0.0
        self.counts: Counter[str] = Counter()
        self.wrong: InputError | None = None
        self._unwritten: dict[str, InputError] = {}

    @property
    def unwritten(self) -> list[InputError]:
        return list(self._unwritten.values())

    def write(self, found: Detections, frame: Frame, until: float | None) -> None:
        writer = self._writer
        if writer is not None:
            self.attempt("video", lambda: writer.write(found.draw(frame.image), until))

    def close(self) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except InputError as error:
            self._unwritten.setdefault("video", error)

    def attempt(self, what: str, write: Callable[[], None]) -> None:
        """Where one fails, no more of the kind are written, and what is found goes on being kept."""
        if what in self._unwritten:
            return
        try:
            write()
        except InputError as error:
            self._unwritten[what] = error


def _newest(folder: Path) -> Path:
    """The last of `folder`, "folder-2", ... with an interrupted run, or one that is new."""
    candidates = [folder, *folder.parent.glob(f"{folder.name}-*")] if folder.parent.is_dir() else []
    there = [one for one in candidates if (one / JOURNAL).is_file()]
    return max(there, key=lambda one: (one / JOURNAL).stat().st_mtime) if there else next_folder(folder)


def _is_video(source: Source | Video) -> bool:
    return isinstance(source, Video)


def _objects(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'}"


def _described(detection: Detection) -> str:
    box = ", ".join(f"{value:.1f}" for value in detection.box)
    return f"{detection.label} {detection.score:.2f} at ({box})"
