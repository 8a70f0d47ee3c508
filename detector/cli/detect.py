"""`detector detect`: finds objects in photos."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import ProposalsOption, split_names
from detector.detections import Detection, class_indices
from detector.errors import InputError
from detector.output import PictureFolder, ResultFile
from detector.sources import Source, find_sources

if TYPE_CHECKING:
    from detector.evaluation.predictions import ImageDetector


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Photos, folders of photos, patterns such as 'photos/*.jpg', or - for standard input.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Model file (.safetensors).", show_default="the installed model"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Detector made of several parts: configs/paper.yaml.", show_default="none"),
    ] = None,
    proposals: ProposalsOption = None,
    score: Annotated[float, typer.Option(help="Lowest score of the objects shown, 0 to 1.")] = 0.5,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Only these classes, for example cat,dog.", show_default="all"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results here as JSON.", show_default="none")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the annotated pictures.")] = Path("runs/detect"),
    device: Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Find objects in photos: prints them, and draws them into copies of the photos.

    Boxes are (x1, y1, x2, y2) in pixels of the upright photo. The exit code is 2 if any photo failed.

    \b
    Example:
      detector detect photos/ dog.jpg --score 0.6 --classes person,dog --json found.json
    """
    if not 0 <= score <= 1:
        raise InputError(f"--score {score:g}: is outside 0 to 1")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: is not known; give auto, cpu or cuda")
    names = None if classes is None else split_names(classes, "--classes")
    found = list(find_sources(sources))
    photos = [source for source in found if isinstance(source, Source)]
    results = None if json is None else ResultFile(json)
    pictures = PictureFolder(out, photos)

    console = Console(quiet)
    failed = 0
    for source in found:
        if isinstance(source, InputError):
            console.error(f"error: {source}")
            failed += 1
    if photos:
        from detector.pipeline import load_detector  # imports torch, for which --help need not wait
        from proposals import warm_up

        warm_up(console.result)
        run = DetectRun(load_detector(model, device, config, proposals), score, names, pictures, results, console)
        failed += run(photos)
    elif results is not None:
        results.save()
    if failed:
        console.error(f"{failed} of {len(found)} sources failed")
        raise typer.Exit(2)


class DetectRun:
    """Runs a detector over photos and reports each as it is done."""

    def __init__(
        self,
        detector: "ImageDetector",
        score: float,
        classes: Sequence[str] | None,
        pictures: PictureFolder,
        results: ResultFile | None,
        console: Console,
    ) -> None:
        """Reports detections of at least `score` and of `classes` (names; None: all).

        Raises `InputError` for a class that the detector does not know.
        """
        if classes is not None:
            class_indices(classes, detector.class_names)
        self._detector = detector
        self._score = score
        self._classes = classes
        self._pictures = pictures
        self._results = results
        self._console = console

    def __call__(self, photos: Sequence[Source]) -> int:
        """The number of photos that failed. Whatever ends the run, the results so far are saved.

        Raises `typer.Exit(130)` when interrupted (Ctrl-C).
        """
        done = failed = 0
        try:
            for source in self._console.progress(photos, "photo"):
                try:
                    self._detect(source)
                except InputError as error:
                    self._console.error(f"error: {error}")
                    failed += 1
                except (MemoryError, RuntimeError) as error:  # torch has RuntimeError for a lack of memory
                    reason = " ".join(str(error).split()) or "not enough memory"
                    self._console.error(f"error: {source.name}: detection failed ({reason})")
                    failed += 1
                done += 1
        except KeyboardInterrupt:
            self._console.error(f"interrupted: {done} of {len(photos)} photos are done, their results kept")
            raise typer.Exit(130) from None
        finally:
            if self._results is not None:
                self._results.save()
        return failed

    def _detect(self, source: Source) -> None:
        image = source.read()
        start = time.perf_counter()
        found = self._detector.detect(image, self._score).filter(classes=self._classes)
        seconds = time.perf_counter() - start
        if self._results is not None:
            self._results.add(source, image, found, seconds)
        for detection in found:
            self._console.result(f"{source.name}: {_described(detection)}")
        picture = self._pictures.save(source, found.draw(image))
        objects = f"{len(found)} object{'' if len(found) == 1 else 's'}"
        size = f"{image.width}x{image.height} pixels"
        self._console.result(f"{source.name}: {objects} in {size}, {seconds:.2f} s -> {picture}")


def _described(detection: Detection) -> str:
    box = ", ".join(f"{value:.1f}" for value in detection.box)
    return f"{detection.label} {detection.score:.2f} at ({box})"
