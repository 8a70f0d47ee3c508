"""What `detector propose` does: photos to boxes and pictures, or a report on a data set."""

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
    """Proposes for photos, draws and writes; files are complete or absent."""

    def __init__(
        self,
        proposer: "Proposer",
        max_boxes: int | None,
        draw: int,
        levels: bool,
        out: Path,
        json: Path | None,
        export: Path | None,
        console: Console,
    ) -> None:
        self._proposer, self._max_boxes, self._draw, self._levels = proposer, max_boxes, draw, levels
        self._out, self._json, self._export, self._console = out, json, export, console

    def __call__(self, sources: list[str], limit: int | None, workers: int, processes: bool, cache: Path | None) -> int:
        """The number of sources that failed."""
        from proposals import export_proposals
        from proposals.export import check_export, to_plain

        found = list(find_sources(sources))
        self._failed = 0
        for wrong in found:
            if isinstance(wrong, InputError):
                self._fail(str(wrong))
        sources_found = [source for source in found if isinstance(source, Source)]
        for path in dict.fromkeys(source.path for source in sources_found if source.member is not None):
            self._fail(f"{path}: a zip is not read here; unpack it")
        photos = [source for source in sources_found if source.path is not None and source.member is None]
        if any(isinstance(source, Source) and source.path is None for source in found):
            self._fail("-: standard input is not read here; give a file")
        photos = photos[:limit]
        if self._export is not None:
            check_export(self._export, (source.name for source in photos))
        self._pictures = PictureFolder(self._out, photos) if self._draw else None
        self._level_pictures = PictureFolder(self._out / "levels", photos) if self._levels else None
        if not photos:
            return self._failed
        results = self._results(photos, workers, processes, cache)
        plain: list[dict[str, Any]] = []

        def named() -> "Iterator[tuple[str, Proposals]]":
            for name, proposals in results:
                if self._json is not None:
                    plain.append(to_plain(name, proposals))
                yield name, proposals

        if self._export is not None:
            export_proposals(self._export, named())
        else:
            for _ in named():
                pass
        if self._json is not None:
            write_json_lines(self._json, plain)
        return self._failed

    def _results(
        self, photos: list[Source], workers: int, processes: bool, cache: Path | None
    ) -> Iterator[tuple[str, "Proposals"]]:
        from detector.evaluation.prediction.proposals import read_pixels
        from proposals import propose_files

        paths = [source.path for source in photos if source.path is not None]
        results = propose_files(paths, self._proposer, read_pixels, workers=workers, processes=processes, cache=cache)
        bar = self._console.progress(photos, "photo")
        for source, result in zip(bar, results, strict=True):
            if result.proposals is None:
                self._fail(f"{source.name}: {result.error}")
                continue
            proposals = result.proposals
            if self._max_boxes is not None:
                proposals = proposals.top(self._max_boxes)
            line = f"{source.name}: {len(proposals)} boxes, {result.seconds:.2f} s"
            if self._pictures is not None or self._level_pictures is not None:
                try:
                    line += f" -> {self._draw_pictures(source, proposals)}"
                except InputError as error:  # the boxes are kept all the same
                    self._fail(str(error))
            self._console.result(line)
            yield source.name, proposals

    def _draw_pictures(self, source: Source, proposals: "Proposals") -> str:
        from proposals import SelectiveSearch
        from proposals.drawing import draw_levels, draw_proposals

        pixels = source.read().pixels
        paths = []
        if self._pictures is not None:
            paths.append(self._pictures.save(source, draw_proposals(pixels, proposals.top(self._draw))))
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
        return " and ".join(map(str, paths))

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
    processes: bool,
    json: Path | None,
    out: Path,
) -> None:
    from detector.data.voc import VOCDataset
    from detector.evaluation.prediction.proposals import evaluate_proposals
    from proposals.drawing import plot_recall

    images = VOCDataset(root, split)
    images = images.first(limit or len(images))
    check_writable_file(out / "recall.png", "--out")
    result = evaluate_proposals(
        proposer, images, limit=max_boxes, workers=workers, processes=processes and workers > 1, progress=True
    )
    console.result(result.table())
    content = result.to_dict()
    if json is not None:
        write_json(json, {"method": name, **content})
    try:
        plot_recall({name: content["curve"]}, out / "recall.png")
        console.result(f"recall against the number of boxes -> {out / 'recall.png'}")
    except ValueError as error:  # matplotlib is missing: the numbers are there all the same
        console.error(f"no plot: {error}")
    if result.failed:
        image_id, reason = next(iter(result.failed.items()))
        console.error(f"error: {len(result.failed)} of {len(images)} images failed, first {image_id}: {reason}")
        raise typer.Exit(2)
