"""`detector propose`: candidate boxes of photos, and how well they cover the objects of a data set."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from detector.cli.propose_modes import ProposeRun, report_proposals
from detector.errors import InputError
from detector.runner.writers import check_result_file
from proposals.names import check_name

if TYPE_CHECKING:
    from proposals import Proposer

_PROPOSALS = "Proposals"
_METHODS = ("selective_search", "multibox", "both")


def propose(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Photos, folders of photos, or patterns.")
    ] = None,
    method: Annotated[
        str,
        option(
            _PROPOSALS,
            "selective_search; multibox; or both, merged, with superpixels of twice the size.",
        ),
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
        if report:
            if sources or dataset is None or root is None or split is None:
                raise InputError("--report needs --dataset voc, --root DIR and --split NAME, and no SOURCE")
            name = method if method == "multibox" else f"{method} {preset}"
            report_proposals(console, proposer, name, root, split, limit, max_boxes, workers or 1, json, out)
            return
        if not sources or dataset is not None:
            raise InputError("give photos or folders; or --dataset voc, --root, --split and --report for a report")
        run = ProposeRun(proposer, console, max_boxes, draw_boxes if draw else 0, levels, out, json, export)
        failed = run(sources, limit, workers or os.cpu_count() or 1, cache)
    except ValueError as error:  # an InputError, or an option that `proposals` refuses
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename or 'output'}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        kept = "" if cache is None else "; finished photos are in the cache, and the same command continues"
        console.error(f"interrupted: no result was written{kept}")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(2)
