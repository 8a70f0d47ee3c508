"""`detector propose`: candidate boxes of photos, and how well they cover the objects of a data set."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from detector.cli.console import Console
from detector.cli.options import (
    DATA,
    RESULTS,
    DeviceOption,
    LimitOption,
    option,
    result_file,
)
from detector.errors import InputError
from detector.io.json import write_json, write_json_lines
from detector.runner.sources import Source, find_sources
from detector.runner.writers import PictureFolder, check_result_file, check_writable_file
from proposals.names import check_name

if TYPE_CHECKING:
    from detector.data.annotations import AnnotatedImages
    from proposals import FileProposals, Proposals, Proposer, SelectiveSearchConfig

Layout = Literal["voc", "coco", "folder"]

_PROPOSALS = "Proposals"
_METHODS = ("selective_search", "multibox", "both")


def propose(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Photos, folders of photos, or patterns.")
    ] = None,
    method: Annotated[
        str, option(_PROPOSALS, "selective_search; multibox; or both, merged, with superpixels of twice the size.")
    ] = "selective_search",
    preset: Annotated[str, option(_PROPOSALS, "single, fast, balanced or quality: 1, 8, 15 or 80 groupings.")] = "fast",
    max_boxes: Annotated[int | None, option(_PROPOSALS, "Keep the best N boxes.", "N", "all", "--max", min=1)] = None,
    model: Annotated[Path | None, option(_PROPOSALS, "Model with a MultiBox.", "PATH", "the installed model")] = None,
    multibox: Annotated[int | None, option(_PROPOSALS, "Number of MultiBox boxes.", "N", "200", min=1)] = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, option(_PROPOSALS, "Seed of the random factor in the ranking.", min=0)] = 0,
    json: Annotated[Path | None, result_file("Write the boxes, or the report, as JSON.")] = None,
    export: Annotated[
        Path | None,
        result_file(
            "Write the boxes for other programs: .npz, .jsonl, .json (COCO), .mat (Fast R-CNN), .pkl (Detectron), or a "
            "new folder of .npy (DETReg) if the name has no ending."
        ),
    ] = None,
    masks: Annotated[
        bool, option(RESULTS, "Also write the region in each box, to .npz, .jsonl or .json.", flag="--masks")
    ] = False,
    boxes: Annotated[
        Path | None,
        option(_PROPOSALS, "Take the boxes of a file that --export or another program wrote.", "FILE", "none"),
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
    dataset: Annotated[
        Layout | None, option(DATA, "Layout of a data set, whose photos are proposed for.", None, "none")
    ] = None,
    root: Annotated[
        Path | None,
        option(
            DATA,
            "voc: the folder that holds JPEGImages. coco: the folder of the photos. folder: photos and labels in any "
            "layout.",
            "DIR",
            "none; coco: beside the JSON file",
        ),
    ] = None,
    split: Annotated[
        str | None, option(DATA, "List of images of voc. coco, folder: val or train.", "NAME", "none; all photos")
    ] = None,
    annotations: Annotated[Path | None, option(DATA, "coco: the JSON file.", "FILE", "none")] = None,
    report: Annotated[
        bool, option(DATA, "Report recall, MABO and time on the data set, with a plot in --out.", flag="--report")
    ] = False,
    limit: LimitOption = None,
) -> None:
    """Propose boxes that may hold objects, or report how well they cover a data set's objects.

    Boxes are (x1, y1, x2, y2) in pixels of the upright photo, best first. With --cache, the same command continues an
    interrupted run. The exit code is 2 if a photo failed.

    Examples:

        detector propose photos/ --max 1000 --export boxes.npz
        detector propose --dataset voc --root VOCdevkit/VOC2007 --split trainval --export voc_2007_trainval.mat
        detector propose --dataset coco --annotations annotations/instances_val2017.json --report --json report.json
        detector propose --dataset voc --root VOCdevkit/VOC2007 --split val --boxes theirs.mat --report
    """
    for name, path in (("--json", json), ("--export", export)):
        if path is not None:
            check_result_file(path, name)
    if json is not None and json == export:
        raise InputError(f"--json and --export are both {json}; give two names")
    if report and (export is not None or cache is not None or levels):
        raise InputError("--report has no meaning with --export, --cache or --levels; leave these out")
    if masks and (export is None or method != "selective_search" or boxes is not None):
        raise InputError("--masks needs --export and proposals of selective_search; add them or leave it out")
    console = Console()
    kept = "" if cache is None else "; finished photos are in the cache, and the same command continues"
    try:
        from proposals import SelectiveSearch, SelectiveSearchConfig, propose_files, warm_up
        from proposals.export import check_export

        if export is not None:
            check_export(export, regions=masks)
        check_name("method", method, _METHODS)
        if method == "selective_search" and not model is multibox is None:
            raise InputError(f"--model and --multibox are for MultiBox; leave them out with --method {method}")
        if levels and method != "selective_search":
            raise InputError(f"--levels: method {method} has no hierarchy to draw; use selective_search")
        if (dataset is None) == (not sources):
            raise InputError("give photos or folders, or a data set: --dataset voc, coco or folder")
        if dataset is None and (report or boxes is not None):
            raise InputError("--report and --boxes need a data set: --dataset voc, coco or folder")
        if dataset == "folder" and root is not None and split is None and not report and boxes is None:
            sources, dataset = [str(root)], None  # its photos need no labels
        images = None if dataset is None else _read_images(console, dataset, root, split, annotations, limit)
        if images is None:
            photos, failed = _find_photos(console, sources or [], limit)
            names = [photo.name for photo in photos]
        else:
            photos, failed = [Source(images.image_path(index)) for index in range(len(images))], 0
            names = [photo.file_name for photo in photos]
            names = names if len(set(names)) == len(names) else list(images.ids)
        levels_of: SelectiveSearchConfig | None = None
        files: Iterable[FileProposals]
        if images is not None and boxes is not None:
            files, fingerprint = _read_boxes(boxes, images, names)
        else:
            from detector.evaluation.prediction.proposals import read_pixels

            if method != "multibox":
                warm_up(console.result)
            proposer: Proposer
            if method != "selective_search":
                from detector.inference.proposers import multibox_proposer  # imports torch

                proposer = multibox_proposer(model, multibox or 200, preset if method == "both" else None, seed, device)
            else:
                config = SelectiveSearchConfig.preset(preset, seed=seed)
                proposer = SelectiveSearch(config, regions=masks)
                levels_of = config if levels else None
            one_by_one = report or method != "selective_search"  # times are of one image, MultiBox takes all cores
            workers = workers or (1 if one_by_one else os.cpu_count() or 1)
            paths = [photo.path for photo in photos if photo.path is not None]
            files = propose_files(paths, proposer, read_pixels, workers=workers, cache=cache)
            fingerprint = proposer.fingerprint
        with console.interruptible(lambda: f"no result was written{kept}"):
            if report and images is not None:
                name = boxes.name if boxes is not None else method if method == "multibox" else f"{method} {preset}"
                made_by = {"method": name, "fingerprint": fingerprint}
                failed = _report(console, files, made_by, images, max_boxes, json, out)
            else:
                draw_boxes = draw_boxes if draw and boxes is None else 0
                run = _Run(console, max_boxes, draw_boxes, levels_of, out, json, export, failed)
                failed = run(photos, names, files, fingerprint)
    except ValueError as error:  # an InputError, or an option that `proposals` refuses
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{error.filename or 'output'}: {error.strerror or error}") from None
    if failed:
        raise typer.Exit(2)


def _read_images(
    console: Console, layout: Layout, root: Path | None, split: str | None, annotations: Path | None, limit: int | None
) -> "AnnotatedImages":
    """The photos of a data set and their objects; photos that cannot be used are reported."""
    needed = {"voc": ("--root DIR and --split NAME", root, split, annotations is None),
              "coco": ("--annotations FILE", annotations, True, True),
              "folder": ("--root DIR and no --annotations", root, annotations is None, True)}[layout]  # fmt: skip
    if not all(needed):
        raise InputError(f"--dataset {layout} needs {needed[0]}")
    images: AnnotatedImages
    if layout == "voc" and root is not None and split is not None:
        from detector.data.voc import VOCDataset

        images = VOCDataset(root, split)
    else:
        from detector.data.custom_dataset import read_custom_dataset
        from detector.training.photos import PhotoSet

        check_name("--split", split or "all", ("all", "train", "val"))
        path = annotations or root or Path()
        coco = layout == "coco"
        data = read_custom_dataset(path, "coco" if coco else None, photos=root if coco else None)
        for fault in data.faults:
            console.error(f"not used: {fault}")
        samples = [s for s in data.samples if split in (None, "all") or (split == "val") == (s.id in data.val)]
        if not samples:
            raise InputError(f"{path}: has no photos for {split}")
        name = path.stem if split is None else f"{path.stem} {split}"
        images = PhotoSet(tuple(samples), data.class_names, data.class_ids, data.path, name)
    return images if limit is None else images.first(limit)


def _find_photos(console: Console, sources: list[str], limit: int | None) -> tuple[list[Source], int]:
    """The first `limit` photos in files, and the number of errors, standard input and zips, which are reported."""
    photos, zips, failures = [], set(), []
    for source in find_sources(sources):
        if isinstance(source, InputError):
            failures.append(str(source))
        elif source.path is None:
            failures.append(f"{source.name}: only files are read here; give a file")
        elif source.member is None:
            photos.append(source)
        elif source.path not in zips:
            zips.add(source.path)
            failures.append(f"{source.path}: a zip is not read here; unpack it")
    for failure in failures:
        console.error(f"error: {failure}")
    return photos[:limit], len(failures)


def _read_boxes(path: Path, images: "AnnotatedImages", names: list[str]) -> "tuple[list[FileProposals], str]":
    """The boxes that a file has for the photos of a data set, and its fingerprint."""
    from proposals import FileProposals, read_proposals

    sizes = [images[index].annotations.image_size for index in range(len(images))]
    content = read_proposals(path, dict(zip(names, sizes, strict=True)))
    # Other programs leave out folders and suffixes, which matter only where names are equal without them.
    by_stem = len({Path(name).stem for name in names}) == len(names)
    found = {Path(name).stem if by_stem else name: proposals for name, proposals in content.items}
    files = []
    for index, name in enumerate(names):
        proposals = found.get(Path(name).stem if by_stem else name)
        error = "the file has no boxes of it" if proposals is None else None
        files.append(FileProposals(images.image_path(index), proposals, error))
    return files, content.fingerprint


@dataclass
class _Run:
    """Draws the boxes of photos and writes them; result files are complete or absent.

    Attributes:
        max_boxes: boxes to keep of each photo; None for all.
        draw_boxes: boxes to draw; 0 for no pictures.
        levels: also draw the levels of the first hierarchy of these settings.
        failed: number of sources that failed so far.
    """

    console: Console
    max_boxes: int | None
    draw_boxes: int
    levels: "SelectiveSearchConfig | None"
    out: Path
    json: Path | None
    export: Path | None
    failed: int

    def __call__(
        self, photos: list[Source], names: list[str], files: "Iterable[FileProposals]", fingerprint: str
    ) -> int:
        """The number of sources that failed."""
        from proposals import export_proposals
        from proposals.export import check_export, to_plain

        if self.export is not None:
            check_export(self.export, names)
        pictures = PictureFolder(self.out, photos) if self.draw_boxes else None
        level_pictures = PictureFolder(self.out / "levels", photos) if self.levels else None
        if not photos:
            return self.failed
        plain: list[dict[str, Any]] = []

        def results() -> "Iterator[tuple[str, Proposals]]":
            for source, name, file in zip(self.console.progress(photos, "photo"), names, files, strict=True):
                if file.proposals is None:
                    if self.export is not None and self.export.suffix == ".mat":
                        raise InputError(f"{source.name}: {file.error}; a .mat needs all photos, take it off the list")
                    self._fail(f"{source.name}: {file.error}")
                    continue
                proposals = file.proposals if self.max_boxes is None else file.proposals.top(self.max_boxes)
                line = f"{source.name}: {len(proposals)} boxes, {file.seconds:.2f} s"
                try:
                    if drawn := self._draw(source, proposals, pictures, level_pictures):
                        line += f" -> {' and '.join(map(str, drawn))}"
                except InputError as error:  # the boxes are kept all the same
                    self._fail(str(error))
                self.console.result(line)
                if self.json is not None:
                    plain.append(to_plain(name, proposals, fingerprint))
                yield name, proposals

        if self.export is not None:
            export_proposals(self.export, results(), fingerprint)
        else:
            deque(results(), maxlen=0)
        if self.json is not None:
            write_json_lines(self.json, plain)
        return self.failed

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
        if level_pictures is not None and self.levels is not None:
            colors, similarities, ks = self.levels.color_spaces[:1], self.levels.similarities[:1], self.levels.ks[:1]
            first = replace(self.levels, color_spaces=colors, similarities=similarities, ks=ks)
            hierarchy = SelectiveSearch(first).hierarchies(pixels)[0]
            paths.append(level_pictures.save(source, draw_levels(pixels, hierarchy)))
        return paths

    def _fail(self, message: str) -> None:
        self.console.error(f"error: {message}")
        self.failed += 1


def _report(
    console: Console,
    files: "Iterable[FileProposals]",
    made_by: dict[str, str],
    images: "AnnotatedImages",
    max_boxes: int | None,
    json: Path | None,
    out: Path,
) -> int:
    """Tells how well boxes cover the objects of a data set; gives the number of photos that failed."""
    from detector.evaluation.prediction.proposals import evaluate_files
    from proposals.drawing import plot_recall

    check_writable_file(out / "recall.png", "--out")
    result = evaluate_files(files, images, limit=max_boxes, progress=True)
    console.result(result.table())
    content = result.to_dict()
    if json is not None:
        write_json(json, {**made_by, **content})
    try:
        plot_recall({made_by["method"]: content["curve"]}, out / "recall.png")
        console.result(f"recall against the number of boxes -> {out / 'recall.png'}")
    except ValueError as error:  # matplotlib is missing
        console.error(f"no plot: {error}")
    if result.failed:
        image_id, reason = next(iter(result.failed.items()))
        console.error(f"error: {len(result.failed)} of {len(images)} images failed, first {image_id}: {reason}")
    return len(result.failed)
