"""`detector propose`: candidate boxes of photos, and how well they cover the objects of a data set."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.output import PictureFolder, check_result_file, check_writable_file, write_json, write_json_lines
from detector.sources import Source, find_sources

if TYPE_CHECKING:
    from proposals import Proposals, Proposer


def propose(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Photos, folders of photos, or patterns.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="selective_search; multibox; both, merged, with doubled superpixels; or to compare with: opencv, "
            "selectivesearch (if installed).",
            rich_help_panel="Proposals",
        ),
    ] = "selective_search",
    preset: Annotated[
        str, typer.Option(help="single, fast or quality: 1, 8 or 80 groupings.", rich_help_panel="Proposals")
    ] = "fast",
    max_boxes: Annotated[
        int | None,
        typer.Option(
            "--max", metavar="N", min=1, help="Keep the best N boxes.", show_default="all", rich_help_panel="Proposals"
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model with a MultiBox.",
            show_default="the installed model",
            rich_help_panel="Proposals",
        ),
    ] = None,
    multibox: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Boxes of MultiBox.", show_default="200", rich_help_panel="Proposals"),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Of MultiBox: auto (a GPU if there is one), cpu or cuda.", rich_help_panel="Proposals")
    ] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, help="Of the random factor in the ranking.", rich_help_panel="Proposals")
    ] = 0,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write boxes, or the report, as JSON.", show_default="none", rich_help_panel="Results"
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the boxes for other programs: .npz, .jsonl, or .json in COCO's proposal format.",
            show_default="none",
            rich_help_panel="Results",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the pictures.", rich_help_panel="Results")
    ] = Path("runs/propose"),
    draw: Annotated[
        int, typer.Option(metavar="N", min=0, help="Draw the first N boxes; 0: no pictures.", rich_help_panel="Results")
    ] = 100,
    levels: Annotated[
        bool,
        typer.Option(
            "--levels",
            help="Also draw the levels of the first grouping's hierarchy, into DIR/levels.",
            rich_help_panel="Results",
        ),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the boxes here, and take them from here.",
            show_default="none",
            rich_help_panel="Results",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Images at the same time.",
            show_default="all cores; a report: 1",
            rich_help_panel="Results",
        ),
    ] = None,
    dataset: Annotated[
        Literal["voc"] | None, typer.Option(help="Layout of a data set to report on.", rich_help_panel="Report")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the data set, the one that holds JPEGImages.", rich_help_panel="Report"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="List of images of the data set.", rich_help_panel="Report")
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Report on the data set: recall, MABO, time, and a plot in --out.",
            rich_help_panel="Report",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Take only the first N images.", show_default="all", rich_help_panel="Report"
        ),
    ] = None,
) -> None:
    """Propose boxes in which objects may be, or report how well they cover a data set's objects.

    Boxes are (x1, y1, x2, y2) in pixels of the upright photo, best first. The exit code is 2 if any photo failed.

    Examples:

        detector propose photos/ --max 1000 --export boxes.npz
        detector propose --dataset voc --root VOCdevkit/VOC2007 --split val --report --json report.json
    """
    for option, path in (("--json", json), ("--export", export)):
        if path is not None:
            check_result_file(path, option)
    if json is not None and json == export:
        raise InputError(f"--json and --export are both {json}; give two names")
    if report and (export is not None or cache is not None or levels):
        raise InputError("--report writes no boxes and takes none from a cache: leave out --export, --cache, --levels")
    console = Console()
    try:
        from proposals import METHODS, make_proposer, warm_up
        from proposals.export import check_export

        if export is not None:
            check_export(export)

        ours = method in ("selective_search", "multibox", "both")
        if not ours and method not in METHODS:
            known = ", ".join(("selective_search", "multibox", "both", *METHODS[1:]))
            raise InputError(f"method: unknown {method!r}, known are {known}")
        if method not in ("multibox", "both") and not model is multibox is None:
            raise InputError(f"--model and --multibox are for MultiBox; leave them out with --method {method}")
        if method in ("selective_search", "both"):
            warm_up(console.result)
        if method in ("multibox", "both"):
            from detector.multibox import multibox_proposer  # imports torch

            proposer = multibox_proposer(model, multibox or 200, preset if method == "both" else None, seed, device)
            workers = workers or 1  # one image has all cores
        else:
            proposer = make_proposer(method, preset, seed)
        processes = not ours  # the others hold Python's lock
        if report:
            if sources or dataset is None or root is None or split is None:
                raise InputError("--report needs --dataset voc, --root DIR and --split NAME, and no SOURCE")
            name = method if method in ("selectivesearch", "multibox") else f"{method} {preset}"
            _report(console, proposer, name, root, split, limit, max_boxes, workers or 1, processes, json, out)
            return
        if not sources or dataset is not None:
            raise InputError("give photos or folders; or --dataset voc, --root, --split and --report for a report")
        if levels and method != "selective_search":
            raise InputError(f"--levels: method {method} does not tell its hierarchy; use selective_search")
        run = ProposeRun(proposer, max_boxes, draw, levels, out, json, export, console)
        failed = run(sources, limit, workers or os.cpu_count() or 1, processes, cache)
    except ValueError as error:  # an InputError, or an option that `proposals` refuses
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename or 'output'}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        kept = "" if cache is None else "; what is done is in the cache, and the same command goes on from there"
        console.error(f"interrupted: no result was written{kept}")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(2)


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
        from detector.evaluation.coverage import read_pixels
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
                colour_spaces=config.colour_spaces[:1],
                similarities=config.similarities[:1],
                ks=config.ks[:1],
            )
            hierarchy = SelectiveSearch(first).hierarchies(pixels)[0]
            paths.append(self._level_pictures.save(source, draw_levels(pixels, hierarchy)))
        return " and ".join(map(str, paths))

    def _fail(self, message: str) -> None:
        self._console.error(f"error: {message}")
        self._failed += 1


def _report(
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
    from detector.evaluation.coverage import evaluate_proposals
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
