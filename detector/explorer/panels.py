"""What the page shows of each stage: pictures, a line of text, tables. Nothing here runs the backbone again."""

import time
from dataclasses import dataclass

import numpy as np

from detector.errors import InputError
from detector.explorer import pictures
from detector.explorer.regions import region_at, report_region, score_maps
from detector.explorer.stages import Explanation, Grouping
from detector.explorer.truth import Objects, detection_overlaps, trace
from detector.visualization.boxes import class_color
from proposals import Proposals
from proposals.drawing import source_color

MOST_FRAMES = 2000
"""More candidates than these are not drawn: nothing could be seen."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with a line below it; `pick`: a click on it chooses a region."""

    pixels: np.ndarray
    caption: str
    pick: bool = False


@dataclass(frozen=True)
class Bar:
    """A labeled value in 0..1, with the color of its bar (`#RRGGBB`) or None for the page's own."""

    label: str
    value: float
    text: str
    color: str | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """What is shown of a stage: a line, pictures, bars, and the rows of a table below its head."""

    text: str
    pictures: tuple[Picture, ...]
    bars: tuple[Bar, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def show_segmentation(explanation: Explanation, k: float) -> Panel:
    """The superpixels in every color space; raises InputError if there are none with this k."""
    shown = {one.space: one for one in explanation.groupings if one.k == k}
    if not shown:
        known = ", ".join(sorted({f"{one.k:g}" for one in explanation.groupings})) or "none"
        raise InputError(f"k {k:g}: there are {known}")
    pictured = []
    for space, grouping in shown.items():
        seconds = explanation.space_seconds[space]
        used = ", used by the detector" if grouping.used else ""
        caption = f"{space}: {grouping.hierarchy.superpixels} superpixels, {duration_text(seconds)}{used}"
        pictured.append(Picture(pictures.picture_level(explanation.image, grouping, side=400), caption))
    return Panel(f"k = {k:g}. The time is that of all groupings in the color space, on one thread.", tuple(pictured))


def show_levels(explanation: Explanation, grouping: Grouping, count: int) -> Panel:
    """One level of a hierarchy."""
    hierarchy = grouping.hierarchy
    count = min(count, hierarchy.superpixels)
    text = f"{plural(count, 'region')} of {plural(hierarchy.superpixels, 'superpixel')}"
    if count < hierarchy.superpixels:
        merge = hierarchy.superpixels - count - 1
        text += f"; the last two that were joined had a similarity of {hierarchy.similarities[merge]:.2f}"
        text += f" of {len(grouping.similarity)}"
    picture = pictures.picture_level(explanation.image, grouping, count)
    name = f"{grouping.space}, {grouping.similarity}, k = {grouping.k:g}"
    return Panel(f"{text}.", (Picture(picture, name),))


def show_proposals(explanation: Explanation, count: int, source: int | None) -> Panel:
    """The first boxes by rank, of all sources or of one; raises InputError if there is no such source."""
    top = explanation.proposals.top(count)
    counts = np.bincount(top.sources, minlength=len(top.source_names))
    text = f"The first {plural(len(top), 'box', 'boxes')} of {len(explanation.proposals)}"
    if source is not None:
        if not 0 <= source < len(top.source_names):
            raise InputError(f"source {source}: there are the sources 0 to {len(top.source_names) - 1}")
        kept = top.sources == source
        top = Proposals(top.boxes[kept], top.scores[kept], top.sources[kept], top.source_names, top.image_size)
        text += f"; {len(top)} of them are from {source_text(top.source_names[source])}"
    bars = tuple(
        Bar(source_text(name), n / max(1, counts.max()), str(n), source_color(i))
        for i, (name, n) in enumerate(zip(top.source_names, counts.tolist(), strict=True))
    )
    picture = pictures.picture_proposals(explanation.image, top)
    return Panel(f"{text}.", (Picture(picture, "a color for each source, the best rank on top"),), bars)


def show_region(
    explanation: Explanation, region: int, label: int | None, point: tuple[float, float] | None = None
) -> Panel:
    """What the network saw in a region: the one given, or the surest around a point (parts of the photo's sides)."""
    image = explanation.image
    if point is not None:
        chosen = region_at(explanation, point[0] * image.width, point[1] * image.height, label)
        region = region if chosen is None else chosen
    report = report_region(explanation, region, label)
    name = explanation.class_names[report.label]
    pictured = [Picture(pictures.picture_region(image, report), f"yellow: as proposed; green: moved for {name}", True)]
    if report.crop is not None:
        pictured.append(Picture(report.crop, "the crop that the network is shown"))
    maps = score_maps(explanation, report.label)
    if maps is not None:
        caption = f"the {maps.shape[0]}x{maps.shape[1]} maps for {name}: red where that part of one would be"
        pictured.append(Picture(pictures.picture_score_maps(image, maps), caption))
    order = np.argsort(-report.scores, kind="stable")[:8].tolist()
    bars = tuple(
        Bar(explanation.class_names[i], float(report.scores[i]), f"{report.scores[i]:.2f}", class_color(i + 1))
        for i in order
    )
    text = f"Region {report.region + 1} by rank, from {source_text(report.source)}, at {box_text(report.proposed)}."
    if report.votes is not None:
        text += f" The mean vote of its parts for {name} is {report.votes.mean():+.1f}."
    return Panel(text, tuple(pictured), bars)


def show_regression(explanation: Explanation, score: float) -> Panel:
    """Candidates before and after box regression."""
    found = explanation.candidates(score)
    text = plural(len(found), "region and class", "regions and classes") + f" of at least {score:g}."
    if explanation.scored.box_deltas is None:
        text += " This detector moves no boxes."
    elif len(found):
        shift = np.abs(found.moved - found.proposed).mean()
        text += f" On average a side moves by {shift:.1f} pixels."
    return Panel(
        text,
        tuple(
            Picture(pictures.picture_candidates(explanation.image, found.first(MOST_FRAMES), moved), caption)
            for moved, caption in ((False, "before: as proposed"), (True, "after box regression"))
        ),
    )


def show_suppression(explanation: Explanation, score: float, nms_iou: float, voting: bool) -> Panel:
    """Candidates before and after non-maximum suppression."""
    found = explanation.candidates(score)
    start = time.perf_counter()
    kept = explanation.detections(score, nms_iou, voting)
    seconds = time.perf_counter() - start
    before = pictures.picture_candidates(explanation.image, found.first(MOST_FRAMES), True)
    after = pictures.picture_detections(explanation.image, kept)
    return Panel(
        f"{plural(len(found), 'box', 'boxes')} before, {len(kept)} after, in {duration_text(seconds)}.",
        (Picture(before, f"before: {len(found)}"), Picture(after, f"after: {len(kept)}")),
    )


def show_detections(explanation: Explanation, score: float) -> Panel:
    """What `Detector.detect` gives."""
    found = explanation.detections(score)
    rows = tuple((one.label, f"{one.score:.2f}", box_text(np.array(one.box))) for one in found)
    picture = pictures.picture_detections(explanation.image, found)
    text = f"{plural(len(found), 'object')} of at least {score:g}, as the detector is set."
    return Panel(text, (Picture(picture, "class and score"),), head=("class", "score", "box"), rows=rows)


def show_truth(explanation: Explanation, objects: Objects, count: int, score: float) -> Panel:
    """The annotated objects, and whether boxes and detections found them."""
    count = min(count, len(explanation.proposals))
    traces = trace(explanation, objects, count)
    found = detection_overlaps(objects, explanation.detections(score))
    rows = tuple(
        (
            objects.names[i] + (" (difficult)" if objects.difficult[i] else ""),
            f"{traces.proposal_overlaps[i]:.2f}",
            f"{traces.region_scores[i]:.2f}" if objects.labels[i] >= 0 else "unknown class",
            f"{found[i]:.2f}" if found[i] else "none",
        )
        for i in range(len(objects))
    )
    parts = []
    for iou in (0.5, 0.7):
        recall = objects.recall(traces.proposal_overlaps, iou)
        if recall is not None:
            parts.append(f"{recall:.0%} at IoU {iou:g}")
    detected = objects.recall(found, 0.5)
    text = "No object counts."
    if detected is not None:
        text = f"Recall of the first {plural(count, 'box', 'boxes')}: {', '.join(parts)}. "
        text += f"Detections of at least {score:g} find {detected:.0%}."
    covered = (traces.proposal_overlaps >= 0.5).tolist()
    return Panel(
        text,
        (
            Picture(
                pictures.picture_objects(explanation.image, objects.boxes, covered),
                "green: a box covers it (IoU 0.5 or more); pink: none does",
            ),
        ),
        head=("object", "best box (IoU)", "best score of a region on it", "best detection (IoU)"),
        rows=rows,
    )


def duration_text(seconds: float) -> str:
    """A time for the reader."""
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def source_text(name: str) -> str:
    """A source of boxes for the reader: selective_search/HSV/CTSF/50 is its grouping HSV, CTSF, k 50."""
    parts = name.split("/")
    return f"{parts[1]}, {parts[2]}, k {parts[3]}" if parts[0] == "selective_search" and len(parts) == 4 else name


def box_text(box: np.ndarray) -> str:
    """A box for the reader, in whole pixels."""
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    return f"{x1}, {y1} to {x2}, {y2}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"
