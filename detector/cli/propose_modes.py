"""The modes of `detector propose`: boxes of photos, and a report on a data set."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.io.json import write_json, write_json_lines
from detector.runner.sources import Source, find_sources
from detector.runner.writers import PictureFolder, check_writable_file

if TYPE_CHECKING:
    from proposals import Proposals, Proposer


class ProposeRun:
    """Proposes boxes of photos, draws them and writes them; result files are complete or absent.

    Args:
        max_boxes: boxes to keep of each photo; None for all.
        draw_boxes: boxes to draw; 0 for no pictures.
        levels: also draw the levels of the hierarchy.
    """

    def __init__(
        self,
        proposer: "Proposer",
        console: Console,
        max_boxes: int | None,
        draw_boxes: int,
        levels: bool,
        out: Path,
        json: Path | None,
        export: Path | None,
    ) -> None:
        self._proposer, self._console = proposer, console
        self._max_boxes, self._draw_boxes, self._levels = max_boxes, draw_boxes, levels
        self._out, self._json, self._export = out, json, export
        self._failed = 0

    def __call__(self, sources: list[str], limit: int | None, workers: int, cache: Path | None) -> int:
        """The number of sources that failed."""
        from proposals import export_proposals
        from proposals.export import check_export, to_plain

        photos = self._photos(sources)[:limit]
        if self._export is not None:
            check_export(self._export, (source.name for source in photos))
        self._pictures = PictureFolder(self._out, photos) if self._draw_boxes else None
        self._level_pictures = PictureFolder(self._out / "levels", photos) if self._levels else None
        if not photos:
            return self._failed
        results = self._results(photos, workers, cache)
        plain: list[dict[str, Any]] = []

        def collected() -> "Iterator[tuple[str, Proposals]]":
            for name, proposals in results:
                if self._json is not None:
                    plain.append(to_plain(name, proposals))
                yield name, proposals

        if self._export is not None:
            export_proposals(self._export, collected())
        else:
            deque(collected(), maxlen=0)
        if self._json is not None:
            write_json_lines(self._json, plain)
        return self._failed

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

    def _results(self, photos: list[Source], workers: int, cache: Path | None) -> Iterator[tuple[str, "Proposals"]]:
        from detector.evaluation.prediction.proposals import read_pixels
        from proposals import propose_files

        paths = [source.path for source in photos if source.path is not None]
        results = propose_files(paths, self._proposer, read_pixels, workers=workers, cache=cache)
        bar = self._console.progress(photos, "photo")
        for source, result in zip(bar, results, strict=True):
            if result.proposals is None:
                self._fail(f"{source.name}: {result.error}")
                continue
            proposals = result.proposals
            if self._max_boxes is not None:
                proposals = proposals.top(self._max_boxes)
            line = f"{source.name}: {len(proposals)} boxes, {result.seconds:.2f} s"
            try:
                if paths_drawn := self._draw_pictures(source, proposals):
                    line += f" -> {' and '.join(map(str, paths_drawn))}"
            except InputError as error:  # the boxes are kept all the same
                self._fail(str(error))
            self._console.result(line)
            yield source.name, proposals

    def _draw_pictures(self, source: Source, proposals: "Proposals") -> list[Path]:
        if self._pictures is None and self._level_pictures is None:
            return []
        from proposals import SelectiveSearch
        from proposals.drawing import draw_levels, draw_proposals

        pixels = source.read().pixels
        paths = []
        if self._pictures is not None:
            paths.append(self._pictures.save(source, draw_proposals(pixels, proposals.top(self._draw_boxes))))
        if self._level_pictures is not None and isinstance(self._proposer, SelectiveSearch):
            config = self._proposer.config
            first = replace(
                config,
                color_spaces=config.color_spaces[:1],
                similarities=config.similarities[:1],
                ks=config.ks[:1],
            )
            hierarchy = SelectiveSearch(first).hierarchies(pixels)[0]
            paths.append(self._level_pictures.save(source, draw_levels(pixels, hierarchy)))
        return paths

    def _fail(self, message: str) -> None:
        self._console.error(f"error: {message}")
        self._failed += 1


def report_proposals(
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
) -> None:
    """Prints how well proposals cover the objects of a VOC list, and plots recall; the exit code is 2 after failures.

    Args:
        name: of the method, in the plot and the JSON file.
    """
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
        raise typer.Exit(2)
