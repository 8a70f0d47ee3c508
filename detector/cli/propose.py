"""`detector propose`: candidate boxes of photos, and how well they cover the objects of a data set."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.cli.propose_modes import ProposeRun, report_proposals
from detector.errors import InputError
from detector.runner.writers import check_result_file
from proposals.names import unknown_name


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
            raise InputError(unknown_name("method", method, ("selective_search", "multibox", "both", *METHODS[1:])))
        if method not in ("multibox", "both") and not model is multibox is None:
            raise InputError(f"--model and --multibox are for MultiBox; leave them out with --method {method}")
        if method in ("selective_search", "both"):
            warm_up(console.result)
        if method in ("multibox", "both"):
            from detector.inference.proposers import multibox_proposer  # imports torch

            proposer = multibox_proposer(model, multibox or 200, preset if method == "both" else None, seed, device)
            workers = workers or 1  # one image has all cores
        else:
            proposer = make_proposer(method, preset, seed)
        processes = not ours  # the others hold Python's lock
        if report:
            if sources or dataset is None or root is None or split is None:
                raise InputError("--report needs --dataset voc, --root DIR and --split NAME, and no SOURCE")
            name = method if method in ("selectivesearch", "multibox") else f"{method} {preset}"
            report_proposals(console, proposer, name, root, split, limit, max_boxes, workers or 1, processes, json, out)
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
