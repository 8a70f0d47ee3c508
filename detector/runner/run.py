"""A detector run over photos and videos. Results are stored one by one, and an interrupted run resumes from them."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from detector.errors import InputError
from detector.runner.frame_detector import FrameDetector, ImageResult
from detector.runner.results import LineFile, ResultFiles, frame_entry, photo_entry, save_crops, write_results
from detector.runner.sources import Source
from detector.runner.tracking import Line, Tracker
from detector.runner.video import Frame, Video, VideoWriter
from detector.runner.writers import PictureFolder, check_folder, distinct_stems, next_folder
from detector.storage.run_store import OutputError, RunStore, source_of
from detector.structures.detections import Detection, Detections
from detector.structures.image import Image
from detector.structures.selection import Selection

if TYPE_CHECKING:
    from detector.evaluation.prediction.predict import ImageDetector

_T = TypeVar("_T")

STORE = "unfinished.jsonl"
"""Name of the store in a run's folder; it exists until the run is complete."""


class Reporter(Protocol):
    """Receives the messages of a run, like `detector.cli.console.Console`."""

    def result(self, line: str) -> None: ...
    def error(self, line: str) -> None: ...
    def progress(self, items: Iterable[_T], unit: str, total: int | None = None) -> Iterable[_T]: ...


@dataclass(frozen=True, kw_only=True)
class RunOutput:
    """Where a run writes, checked before it starts.

    Attributes:
        folder: for the store, and for the annotated pictures and videos.
        files: results in other formats.
        draw: whether to write annotated pictures and videos.
        resumed: whether an interrupted run continues.
    """

    folder: Path
    files: ResultFiles
    draw: bool
    resumed: bool

    @property
    def store(self) -> Path:
        return self.folder / STORE

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
    ) -> "RunOutput":
        """Chooses the folder and checks all outputs.

        Args:
            folder: None for `default`, or "default-2" and so on where that has been used.
            overwrite: replace existing results.
            resume: continue an interrupted run, if there is one.

        Raises:
            InputError: an output cannot be written, or exists and may not be replaced.
        """
        if overwrite and resume:
            raise InputError("--overwrite starts over and --resume continues: give one of them")
        if folder is None:
            folder = default if overwrite else _newest(default) if resume else next_folder(default)
        interrupted = (folder / STORE).exists()
        resumed = resume and interrupted
        may_replace = overwrite or resumed
        hint = f" (--resume: {folder} has no interrupted run)" if resume else ""
        files.check([source.path for source in media if source.path is not None], may_replace, hint)
        if interrupted and not may_replace:
            raise InputError(f"--out {folder}: has an interrupted run: --resume continues it, --overwrite starts over")
        if draw:
            for path in PictureFolder(folder, media).paths:
                if os.path.lexists(path) and not may_replace:
                    raise InputError(f"{path}: already exists; --overwrite replaces it, or give another --out{hint}")
        elif media:
            check_folder(folder, f"--out {folder}")
        return cls(folder=folder, files=files, draw=draw, resumed=resumed)

    def written(self) -> list[Path]:
        """The files and folders of results that exist, for the last line of a command."""
        folder = [self.folder] if self.draw and self.folder.is_dir() and any(self.folder.iterdir()) else []
        return folder + [path for path in vars(self.files).values() if path is not None and path.exists()]


class DetectionRun:
    """Runs a detector over photos and videos, and reports each when it is done.

    The detections of a photo or video also count if a picture, video or crop of it cannot be written: they are in the
    results, and `--resume` tries that source again.

    Args:
        frame_step: take every n-th frame of a video.
        workers: threads that share the detector, each with a photo.
        batch: images in a batch of the networks (`detector.runner.frame_detector.FrameDetector`).
        track: whether to follow the objects of videos, and with `line` to count those that cross it.
        made_by: further settings that the results depend on; a run with others cannot be resumed.

    Attributes:
        done: number of finished sources.
        unwritten: number of files that could not be written.

    Raises:
        InputError: the selection has a class that the detector does not know.
    """

    def __init__(
        self,
        detector: "ImageDetector",
        selection: Selection,
        output: RunOutput,
        reporter: Reporter,
        *,
        frame_step: int = 1,
        workers: int = 1,
        batch: int = 1,
        track: bool = False,
        line: Line | None = None,
        made_by: dict[str, Any] | None = None,
    ) -> None:
        selection.check(detector.class_names)
        self.done = self.unwritten = 0
        self._detector, self._output, self._reporter, self._step = detector, output, reporter, frame_step
        self._frame_detector = FrameDetector(detector, selection, workers, batch, output.draw)
        self._track, self._line = track, line
        self._made_by = {
            **(made_by or {}),
            "score": selection.score,
            "class scores": dict(selection.class_scores),
            "classes": None if selection.classes is None else sorted(selection.classes),
            "most detections": selection.max_detections,
            "frame step": frame_step,
            "tracks and line": [track, line],
            "classes of the model": list(detector.class_names),
        }

    def __call__(self, media: Sequence[Source | Video]) -> int:
        """Runs over all sources.

        The results so far are written whatever ends the run. After Ctrl-C or a full disk the store remains, from which
        the run resumes.

        Returns:
            The number of sources that failed, plus that of files that could not be written.
        """
        self._stems = distinct_stems(media)
        self._stem_of = {source.name: stem for source, stem in self._stems.items()}
        self._pictures = PictureFolder(self._output.folder, media) if self._output.draw else None
        self._store = RunStore(self._output.store, self._made_by, resume=self._output.resumed, finished_only=True)
        jsonl = self._output.files.jsonl
        self._lines = None if jsonl is None else LineFile(jsonl, self._entries())
        remaining = [source for source in media if source.name not in self._store.finished]
        self.done = len(media) - len(remaining)
        if self.done:
            self._reporter.result(f"{self.done} of {len(media)} are done already")
        failed, complete = 0, False
        photos = self._frame_detector.photos(source for source in remaining if not isinstance(source, Video))
        try:
            unit = "source" if any(isinstance(source, Video) for source in remaining) else "photo"
            for source in self._reporter.progress(remaining, unit):
                try:
                    unwritten = self.unwritten
                    if isinstance(source, Video):
                        self._run_video(source)
                    else:
                        self._finish_photo(source, next(photos))
                    if self.unwritten == unwritten:
                        self._store.finish(source.name)
                except OutputError:
                    raise
                except InputError as error:
                    self._reporter.error(f"error: {error}")
                    failed += 1
                self.done += 1
            complete = True
        except OutputError as error:
            self._reporter.error(f"error: {error}; stopped after {self.done} of {len(media)}, --resume continues")
            failed += 1
        finally:
            photos.close()
            self._write_results(complete)
        return failed + self.unwritten

    def _write_results(self, complete: bool) -> None:
        classes = dict(zip(self._detector.class_names, self._detector.class_ids, strict=True))
        self._report_unwritten(write_results(self._output.files, self._entries, classes, self._stem_of))
        try:
            if self._lines is not None:
                self._lines.close()
            self._store.close(remove=complete and not self.unwritten)
        except OutputError as error:
            self._report_unwritten([error])

    def _report_unwritten(self, errors: Sequence[InputError]) -> None:
        for error in errors:
            self._reporter.error(f"error: {error}")
        self.unwritten += len(errors)

    def _entries(self) -> Iterator[dict[str, Any]]:
        """The stored results, without those of sources that a resumed run no longer has."""
        return (entry for entry in self._store.records() if source_of(entry) in self._stem_of)

    def _finish_photo(self, source: Source, result: ImageResult | InputError) -> None:
        if isinstance(result, InputError):
            raise result
        image, detections, seconds = result.image, result.detections, result.seconds
        self._keep(photo_entry(source.name, detections, seconds))
        for detection in detections:
            self._reporter.result(f"{source.name}: {_describe(detection)}")
        size = f"{image.width}x{image.height}"
        line = f"{source.name}: {_count(len(detections), 'object')} in {size} pixels, {seconds:.2f} s"
        try:
            self._save_crops(self._stems[source], image, detections)
        except InputError as error:
            self._report_unwritten([error])
        try:
            if self._pictures is not None and result.picture is not None:
                line += f" -> {self._pictures.save(source, result.picture)}"
        except InputError as error:
            self._report_unwritten([error])
        self._reporter.result(line)

    def _run_video(self, video: Video) -> None:
        """Detects in the frames of a video, and writes the annotated video.

        Ctrl-C stops a camera, and interrupts the run at a file; frames written before it can be played.
        """
        with video.open() as reader:
            writer = None
            if self._pictures is not None:
                writer = self._pictures.video(video, max(1.0, reader.frame_rate / self._step))
            output, frame_detector, tracker = _VideoOutput(writer), self._frame_detector, None
            if self._track:
                selection = frame_detector.selection
                tracker = Tracker(selection, reader.frame_rate / self._step, self._line)
                frame_detector = replace(frame_detector, selection=Tracker.candidates(selection))
            error: InputError | None = None
            try:
                total = None if reader.frame_count is None else math.ceil(reader.frame_count / self._step)
                frames = reader.frames(self._step)
                with closing(frame_detector.frames(frames, one_by_one=video.live)) as results:
                    for frame, found, seconds in self._reporter.progress(results, "frame", total):
                        detections = found if tracker is None else tracker(found)
                        self._finish_frame(video, frame, detections, seconds, output)
            except KeyboardInterrupt:
                if not video.live:
                    raise
            except InputError as caught:
                error = caught
            finally:
                output.close()
        counts = output.counts
        classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        objects = _count(counts.total(), "object") + (f" ({classes})" if classes else "")
        line = f"{video.name}: {objects} in {_count(output.frames, 'frame')}, {output.seconds:.2f} s"
        if writer is not None and writer.frames:
            line += f" -> {writer.path}"
        self._reporter.result(line)
        if tracker is not None:
            self._reporter.result(f"{video.name}: {tracker.summary()}")
        self._report_unwritten(list(output.unwritten.values()))
        if error is not None:
            raise error

    def _finish_frame(
        self, video: Video, frame: Frame, detections: Detections, seconds: float, output: "_VideoOutput"
    ) -> None:
        self._keep(frame_entry(video, frame, detections, seconds))
        stem = f"{self._stems[video]}#{frame.index:06d}"
        output.attempt("crops", lambda: self._save_crops(stem, frame.image, detections))
        if video.live:  # nobody waits for the end of a camera
            for detection in detections:
                self._reporter.result(f"{frame.image.name}: {_describe(detection)}")
        output.frames += 1
        output.seconds += seconds
        output.counts.update(detection.label for detection in detections)
        output.write(detections, frame, frame.time if video.live else None)

    def _keep(self, entry: dict[str, Any]) -> None:
        self._store.add(entry)
        if self._lines is not None:
            self._lines.add(entry)

    def _save_crops(self, stem: str, image: Image, detections: Detections) -> None:
        if self._output.files.crops is not None:
            save_crops(self._output.files.crops, stem, image, detections)


class _VideoOutput:
    """The output of a video so far.

    Attributes:
        counts: detections of each class.
        unwritten: why the annotated video, or the crops, end early.
    """

    def __init__(self, writer: VideoWriter | None) -> None:
        self._writer = writer
        self.frames, self.seconds = 0, 0.0
        self.counts: Counter[str] = Counter()
        self.unwritten: dict[str, InputError] = {}

    def write(self, detections: Detections, frame: Frame, until: float | None) -> None:
        writer = self._writer
        if writer is not None:
            self.attempt("video", lambda: writer.write(detections.draw(frame.image), until))

    def close(self) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
        except InputError as error:
            self.unwritten.setdefault("video", error)

    def attempt(self, output: str, write: Callable[[], None]) -> None:
        """After a failure, no more of that output is written; the detections are still stored."""
        if output not in self.unwritten:
            try:
                write()
            except InputError as error:
                self.unwritten[output] = error


def _newest(folder: Path) -> Path:
    """The newest of `folder`, "folder-2", ... with an interrupted run, or else a new one."""
    candidates = [folder, *folder.parent.glob(f"{folder.name}-*")] if folder.parent.is_dir() else []
    interrupted = [path for path in candidates if (path / STORE).is_file()]
    return max(interrupted, key=lambda path: (path / STORE).stat().st_mtime) if interrupted else next_folder(folder)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _describe(detection: Detection) -> str:
    box = ", ".join(f"{value:.1f}" for value in detection.box)
    return f"{detection.label} {detection.score:.2f} at ({box})"
