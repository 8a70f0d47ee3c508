"""`detector propose`: candidate boxes of photos, and how well they cover the objects of a data set."""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.console import Console
from detector.cli.options import (
    DATA,
    RESULTS,
    DeviceOption,
    LimitOption,
    VOCOption,
    VOCRootOption,
    VOCSplitOption,
    option,
    result_file,
)
from detector.errors import InputError
from detector.io.json import write_json, write_json_lines
from detector.runner.sources import Source, find_sources
from detector.runner.writers import PictureFolder, check_result_file, check_writable_file
from proposals.names import check_name

if TYPE_CHECKING:
    from proposals import Proposals, Proposer

_PROPOSALS = "Proposals"
_METHODS = ("selective_search", "multibox", "both")


def propose(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Photos, folders of photos, or patterns.")
    ] = None,
    method: Annotated[
        str, option(_PROPOSALS, "selective_search; multibox; or both, merged, with superpixels of twice the size.")
    ] = "selective_search",
    preset: Annotated[str, option(_PROPOSALS, "single, fast or quality: 1, 8 or 80 groupings.")] = "fast",
    max_boxes: Annotated[int | None, option(_PROPOSALS, "Keep the best N boxes.", "N", "all", "--max", min=1)] = None,
    model: Annotated[Path | None, option(_PROPOSALS, "Model with a MultiBox.", "PATH", "the installed model")] = None,
    multibox: Annotated[int | None, option(_PROPOSALS, "Number of MultiBox boxes.", "N", "200", min=1)] = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, option(_PROPOSALS, "Seed of the random factor in the ranking.", min=0)] = 0,
    json: Annotated[Path | None, result_file("Write the boxes, or the report, as JSON.")] = None,
    export: Annotated[
        Path | None, result_file("Write the boxes for other programs: .npz, .jsonl, or .json as COCO proposals.")
    ] = None,
    out: Annotated[Path, option(RESULTS, "Folder for annotated photos.", "DIR")] = Path("runs/propose"),
    draw: Annotated[bool, option(RESULTS, "Write annotated photos.", flag="--draw/--no-draw")] = True,
    draw_boxes: Annotated[int, option(RESULTS, "Draw the best N boxes.", "N", min=1)] = 100,
    levels: Annotated[
        bool,
        option(RESULTS, "Also draw the levels of the first grouping's hierarchy, in DIR/levels.", flag="--levels"),
    ] = False,
    cache: Annotated[Path | None, option(RESULTS, "Folder that keeps proposals for later runs.", "DIR", "none")] = None,
    workers: Annotated[
        int | None, option(RESULTS, "Photos processed at the same time.", "N", "all cores; for a report 1", min=1)
    ] = None,
    dataset: VOCOption = None,
    root: VOCRootOption = None,
    split: VOCSplitOption = None,
    report: Annotated[
        bool, option(DATA, "Report recall, MABO and time on the data set, with a plot in --out.", flag="--report")
    ] = False,
    limit: LimitOption = None,
) -> None:
    """Propose boxes that may hold objects, or report how well they cover a data set's objects.

    Boxes are (x1, y1, x2, y2) in pixels of the upright photo, best first. The exit code is 2 if a photo failed.

    Examples:

        detector propose photos/ --max 1000 --export boxes.npz
        detector propose --dataset voc --root VOCdevkit/VOC2007 --split val --report --json report.json
    """
    for name, path in (("--json", json), ("--export", export)):
        if path is not None:
            check_result_file(path, name)
    if json is not None and json == export:
        raise InputError(f"--json and --export are both {json}; give two names")
    if report and (export is not None or cache is not None or levels):
        raise InputError("--report has no meaning with --export, --cache or --levels; leave these out")
    console = Console()
    kept = "" if cache is None else "; finished photos are in the cache, and the same command continues"
    try:
        from proposals import SelectiveSearch, SelectiveSearchConfig, warm_up
        from proposals.export import check_export

        if export is not None:
            check_export(export)
        check_name("method", method, _METHODS)
        if method == "selective_search" and not model is multibox is None:
            raise InputError(f"--model and --multibox are for MultiBox; leave them out with --method {method}")
        if levels and method != "selective_search":
            raise InputError(f"--levels: method {method} has no hierarchy to draw; use selective_search")
        if method != "multibox":
            warm_up(console.result)
        proposer: Proposer
        if method != "selective_search":
            from detector.inference.proposers import multibox_proposer  # imports torch

            proposer = multibox_proposer(model, multibox or 200, preset if method == "both" else None, seed, device)
            workers = workers or 1  # one image has all cores
        else:
            proposer = SelectiveSearch(SelectiveSearchConfig.preset(preset, seed=seed))
        with console.interruptible(lambda: f"no result was written{kept}"):
            if report:
                if sources or dataset is None or root is None or split is None:
                    raise InputError("--report needs --dataset voc, --root DIR and --split NAME, and no SOURCE")
                name = method if method == "multibox" else f"{method} {preset}"
                failed = _report(console, proposer, name, root, split, limit, max_boxes, workers or 1, json, out)
            elif not sources or dataset is not None:
                raise InputError("give photos or folders; or --dataset voc, --root, --split and --report for a report")
            else:
                run = _Run(proposer, console, max_boxes, draw_boxes if draw else 0, levels, out, json, export)
                failed = run(sources, limit, workers or os.cpu_count() or 1, cache)
    except ValueError as error:  # an InputError, or an option that `proposals` refuses
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename or 'output'}: {error.strerror or error}") from None
    if failed:
        raise typer.Exit(2)


@dataclass
class _Run:
    """Proposes boxes of photos, draws them and writes them; result files are complete or absent.

    Attributes:
        max_boxes: boxes to keep of each photo; None for all.
        draw_boxes: boxes to draw; 0 for no pictures.
        levels: also draw the levels of the hierarchy.
        failed: number of sources that failed so far.
    """

    proposer: "Proposer"
    console: Console
    max_boxes: int | None
    draw_boxes: int
    levels: bool
    out: Path
    json: Path | None
    export: Path | None
    failed: int = 0

    def __call__(self, sources: list[str], limit: int | None, workers: int, cache: Path | None) -> int:
        """The number of sources that failed."""
        from proposals import export_proposals
        from proposals.export import check_export, to_plain

        photos = self._photos(sources)[:limit]
        if self.export is not None:
            check_export(self.export, (source.name for source in photos))
        pictures = PictureFolder(self.out, photos) if self.draw_boxes else None
        level_pictures = PictureFolder(self.out / "levels", photos) if self.levels else None
        if not photos:
            return self.failed
        plain: list[dict[str, Any]] = []

        def results() -> "Iterator[tuple[str, Proposals]]":
            for source, proposals, seconds in self._proposals(photos, workers, cache):
                line = f"{source.name}: {len(proposals)} boxes, {seconds:.2f} s"
                try:
                    if drawn := self._draw(source, proposals, pictures, level_pictures):
                        line += f" -> {' and '.join(map(str, drawn))}"
                except InputError as error:  # the boxes are kept all the same
                    self._fail(str(error))
                self.console.result(line)
                if self.json is not None:
                    plain.append(to_plain(source.name, proposals))
                yield source.name, proposals

        if self.export is not None:
            export_proposals(self.export, results())
        else:
            deque(results(), maxlen=0)
        if self.json is not None:
            write_json_lines(self.json, plain)
        return self.failed

    def _photos(self, sources: list[str]) -> list[Source]:
        """The photos in files. Errors, standard input and zips are reported."""
        photos, zips = [], set()
        for source in find_sources(sources):
            if isinstance(source, InputError):
                self._fail(str(source))
            elif source.path is None:
                self._fail(f"{source.name}: only files are read here; give a file")
            elif source.member is None:
                photos.append(source)
            elif source.path not in zips:
                zips.add(source.path)
                self._fail(f"{source.path}: a zip is not read here; unpack it")
        return photos

    def _proposals(
        self, photos: list[Source], workers: int, cache: Path | None
    ) -> Iterator[tuple[Source, "Proposals", float]]:
        """Each photo with its boxes, and the seconds that they took. Failures are reported."""
        from detector.evaluation.prediction.proposals import read_pixels
        from proposals import propose_files

        paths = [source.path for source in photos if source.path is not None]
        results = propose_files(paths, self.proposer, read_pixels, workers=workers, cache=cache)
        for source, result in zip(self.console.progress(photos, "photo"), results, strict=True):
            if result.proposals is None:
                self._fail(f"{source.name}: {result.error}")
            else:
                found = result.proposals
                yield source, found if self.max_boxes is None else found.top(self.max_boxes), result.seconds

    def _draw(
        self,
        source: Source,
        proposals: "Proposals",
        pictures: PictureFolder | None,
        level_pictures: PictureFolder | None,
    ) -> list[Path]:
        if pictures is None and level_pictures is None:
            return []
        from proposals import SelectiveSearch
        from proposals.drawing import draw_levels, draw_proposals

        pixels = source.read().pixels
        paths = []
        if pictures is not None:
            paths.append(pictures.save(source, draw_proposals(pixels, proposals.top(self.draw_boxes))))
        if level_pictures is not None and isinstance(self.proposer, SelectiveSearch):
            all_of = self.proposer.config
            colors, similarities, ks = all_of.color_spaces[:1], all_of.similarities[:1], all_of.ks[:1]
            first = replace(all_of, color_spaces=colors, similarities=similarities, ks=ks)
            hierarchy = SelectiveSearch(first).hierarchies(pixels)[0]
            paths.append(level_pictures.save(source, draw_levels(pixels, hierarchy)))
        return paths

    def _fail(self, message: str) -> None:
        self.console.error(f"error: {message}")
        self.failed += 1


def _report(
    console: Console,
    proposer: "Proposer",
    name: str,
    root: Path,
    split: str,
    limit: int | None,
    max_boxes: int | None,
    workers: int,
    json: Path | None,
    out: Path,
) -> int:
    """Tells how well proposals of the method `name` cover the objects of a VOC list; gives the number of failures."""
    from detector.data.voc import VOCDataset
    from detector.evaluation.prediction.proposals import evaluate_proposals
    from proposals.drawing import plot_recall

    images = VOCDataset(root, split)
    images = images.first(limit or len(images))
    check_writable_file(out / "recall.png", "--out")
    result = evaluate_proposals(proposer, images, limit=max_boxes, workers=workers, progress=True)
    console.result(result.table())
    content = result.to_dict()
    if json is not None:
        write_json(json, {"method": name, **content})
    try:
        plot_recall({name: content["curve"]}, out / "recall.png")
        console.result(f"recall against the number of boxes -> {out / 'recall.png'}")
    except ValueError as error:  # matplotlib is missing
        console.error(f"no plot: {error}")
    if result.failed:
        image_id, reason = next(iter(result.failed.items()))
        console.error(f"error: {len(result.failed)} of {len(images)} images failed, first {image_id}: {reason}")
    return len(result.failed)
