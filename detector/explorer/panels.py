"""What the page shows of each stage: pictures, a line of text, bars, tables. Nothing here runs the backbone.

The page asks for the panel of `show_NAME` at `photos/KEY/NAME`, with the function's other parameters as the query.
"""

import time
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from detector.errors import InputError
from detector.explorer import pictures
from detector.explorer.regions import region_at, report_region, score_maps
from detector.explorer.stages import Candidates, Explanation, Objects
from detector.visualization.boxes import class_color
from proposals.drawing import source_color

MOST_BOXES = 2000
"""Limit of drawn candidates, beyond which a picture is unreadable."""
COVERED, MISSED = "#35E0A1", "#FF5C9E"
"""Colors of an annotated object that a box covers, and of one that no box covers."""


Score = Annotated[float, Field(ge=0.01, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with a caption; `pick`: a click on it selects a region."""

    pixels: np.ndarray
    caption: str
    pick: bool = False


@dataclass(frozen=True)
class Bar:
    """A labeled value in 0..1, with the color of its bar (`#RRGGBB`) or None for the page's default."""

    label: str
    value: float
    text: str
    color: str | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """The view of a stage: a line of text, pictures, bars, and a table with its head."""

    text: str
    pictures: tuple[Picture, ...]
    bars: tuple[Bar, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def show_segmentation(explanation: Explanation, k: float) -> Panel:
    """The superpixels in every color space.

    Raises:
        InputError: no grouping has this k.
    """
    by_space = {grouping.space: grouping for grouping in explanation.groupings if grouping.k == k}
    if not by_space:
        ks = ", ".join(sorted({f"{grouping.k:g}" for grouping in explanation.groupings})) or "none"
        raise InputError(f"k {k:g} is unknown; give one of {ks}")
    shown = []
    for space, grouping in by_space.items():
        used = ", used by the detector" if grouping.used else ""
        seconds = duration_text(explanation.space_seconds[space])
        caption = f"{space}: {grouping.hierarchy.superpixels} superpixels, {seconds}{used}"
        shown.append(Picture(pictures.picture_level(explanation.image, grouping, side=400), caption))
    return Panel(f"k = {k:g}. Times cover all groupings in a color space, on one thread.", tuple(shown))


def show_levels(explanation: Explanation, space: str, similarity: str, k: float, count: Count) -> Panel:
    """One level of a hierarchy: its division into `count` regions; raises as `Explanation.grouping`."""
    grouping = explanation.grouping(space, similarity, k)
    hierarchy = grouping.hierarchy
    count = min(count, hierarchy.superpixels)
    text = f"{plural(count, 'region')} of {plural(hierarchy.superpixels, 'superpixel')}"
    if count < hierarchy.superpixels:
        merged = hierarchy.similarities[hierarchy.superpixels - count - 1]
        text += f"; the last two merged had a similarity of {merged:.2f} of {len(similarity)}"
    picture = pictures.picture_level(explanation.image, grouping, count)
    return Panel(f"{text}.", (Picture(picture, f"{space}, {similarity}, k = {k:g}"),))


def show_proposals(explanation: Explanation, count: Count, source: int = -1) -> Panel:
    """The first `count` boxes by rank, of all sources (-1) or of one.

    Raises:
        InputError: the source is out of range.
    """
    top = explanation.proposals.top(count)
    counts = np.bincount(top.sources, minlength=len(top.source_names))
    bars = tuple(
        Bar(source_text(name), n / max(1, counts.max()), str(n), source_color(i))
        for i, (name, n) in enumerate(zip(top.source_names, counts.tolist(), strict=True))
    )
    text = f"The first {plural(len(top), 'box', 'boxes')} of {len(explanation.proposals)}"
    if source >= 0:
        if source >= len(top.source_names):
            raise InputError(f"source {source}: give a source from 0 to {len(top.source_names) - 1}")
        kept = top.sources == source
        top = replace(top, boxes=top.boxes[kept], scores=top.scores[kept], sources=top.sources[kept])
        text += f"; {len(top)} of them from {source_text(top.source_names[source])}"
    picture = pictures.picture_proposals(explanation.image, top)
    return Panel(f"{text}.", (Picture(picture, "one color per source, the best rank on top"),), bars)


def show_region(
    explanation: Explanation, region: int, label: int = -1, x: Fraction | None = None, y: Fraction | None = None
) -> Panel:
    """One region and its scores.

    Args:
        region: row of the proposals.
        label: class to show; -1: the region's best class.
        x, y: select the highest-scoring region there in place of `region`; fractions of the photo's width and height.

    Raises:
        InputError: the region or the class is out of range.
    """
    image, chosen = explanation.image, None if label < 0 else label
    if x is not None and y is not None:
        picked = region_at(explanation, x * image.width, y * image.height, chosen)
        region = region if picked is None else picked
    report = report_region(explanation, region, chosen)
    name = explanation.class_names[report.label]
    shown = [Picture(pictures.picture_region(image, report), f"yellow: as proposed; green: moved for {name}", True)]
    if report.crop is not None:
        shown.append(Picture(report.crop, "the crop that is the network's input"))
    maps = score_maps(explanation, report.label)
    if maps is not None:
        caption = f"the {maps.shape[0]}x{maps.shape[1]} score maps for {name}: red where that part of one would be"
        shown.append(Picture(pictures.picture_score_maps(image, maps), caption))
    best = np.argsort(-report.scores, kind="stable")[:8].tolist()
    bars = tuple(
        Bar(explanation.class_names[i], float(report.scores[i]), f"{report.scores[i]:.2f}", class_color(i + 1))
        for i in best
    )
    source = source_text(explanation.proposals.source_names[explanation.proposals.sources[region]])
    text = f"Region {region + 1} by rank, from {source}, at {box_text(report.proposed)}."
    if report.bin_scores is not None:
        text += f" The mean score of its bins for {name} is {report.bin_scores.mean():+.1f}."
    if report.calibrated is not None:
        c, models = report.calibrated, len(explanation.features)
        text += f" Softmax over all classes gives a probability of {c.probability:.2f}; Platt scaling (slope"
        text += f" {c.slope:.2f}, offset {c.offset:+.2f}) makes this a score of {c.score:.2f}"
        text += "." if models == 1 else f", which is averaged with those of the other models ({models} in all)."
    return Panel(text, tuple(shown), bars)


def show_regression(explanation: Explanation, score: Score) -> Panel:
    """The candidates with at least `score` before and after box regression."""
    candidates = explanation.candidates(score)
    text = plural(len(candidates), "region and class", "regions and classes") + f" of at least {score:g}."
    if explanation.scored.box_deltas is None:
        text += " This detector has no box regression."
    elif len(candidates):
        shift = np.abs(candidates.moved - candidates.proposed).mean()
        text += f" On average a side moves by {shift:.1f} pixels."
    before, after = (_candidates(explanation, candidates, moved) for moved in (False, True))
    return Panel(text, (Picture(before, "before: as proposed"), Picture(after, "after box regression")))


def _candidates(explanation: Explanation, candidates: Candidates, moved: bool) -> np.ndarray:
    """The first candidates in their classes' colors, as proposed or after box regression."""
    first = candidates.first(MOST_BOXES)
    colors = [class_color(label + 1) for label in first.labels.tolist()]
    return pictures.picture_boxes(explanation.image, first.moved if moved else first.proposed, colors)


def show_suppression(explanation: Explanation, score: Score, iou: Fraction, voting: bool = False) -> Panel:
    """The candidates with at least `score` before and after non-maximum suppression."""
    candidates = explanation.candidates(score)
    start = time.perf_counter()
    kept = explanation.detections(score, iou, voting)
    seconds = time.perf_counter() - start
    before = _candidates(explanation, candidates, moved=True)
    after = pictures.picture_detections(explanation.image, kept)
    return Panel(
        f"{plural(len(candidates), 'box', 'boxes')} before, {len(kept)} after, in {duration_text(seconds)}.",
        (Picture(before, f"before: {len(candidates)}"), Picture(after, f"after: {len(kept)}")),
    )


def show_detections(explanation: Explanation, score: Score) -> Panel:
    """The detections with at least `score`, with the detector's settings."""
    detections = explanation.detections(score)
    rows = tuple((d.label, f"{d.score:.2f}", box_text(np.array(d.box))) for d in detections)
    picture = pictures.picture_detections(explanation.image, detections)
    text = f"{plural(len(detections), 'object')} of at least {score:g}, with the detector's settings."
    return Panel(text, (Picture(picture, "class and score"),), head=("class", "score", "box"), rows=rows)


def show_truth(explanation: Explanation, objects: Objects, count: Count, score: Score) -> Panel:
    """The annotated objects, and how well the first `count` proposals and the detections of `score` cover them."""
    count = min(count, len(explanation.proposals))
    traces = objects.traces(explanation, count)
    overlaps = objects.overlaps(explanation.detections(score))
    rows = tuple(
        (
            objects.names[i] + (" (difficult)" if objects.difficult[i] else ""),
            f"{traces.proposal_overlaps[i]:.2f}",
            f"{traces.region_scores[i]:.2f}" if objects.labels[i] >= 0 else "unknown class",
            f"{overlaps[i]:.2f}" if overlaps[i] else "none",
        )
        for i in range(len(objects))
    )
    text = "No object counts for recall."
    detected = objects.recall(overlaps, 0.5)
    if detected is not None:
        recalls = [f"{objects.recall(traces.proposal_overlaps, iou):.0%} at IoU {iou:g}" for iou in (0.5, 0.7)]
        text = f"Recall of the first {plural(count, 'box', 'boxes')}: {', '.join(recalls)}. "
        text += f"Detections of at least {score:g} find {detected:.0%}."
    colors = [COVERED if overlap >= 0.5 else MISSED for overlap in traces.proposal_overlaps]
    picture = pictures.picture_boxes(explanation.image, objects.boxes, colors)
    return Panel(
        text,
        (Picture(picture, "green: covered by a box (IoU 0.5 or more); pink: not covered"),),
        head=("object", "best box (IoU)", "best score of a region on it", "best detection (IoU)"),
        rows=rows,
    )


PANELS = (
    show_segmentation, show_levels, show_proposals, show_region, show_regression, show_suppression, show_detections,
)  # fmt: skip
"""Those of every photo, in the order of the page."""


def duration_text(seconds: float) -> str:
    """A duration in a fitting unit."""
    if seconds >= 10:
        return f"{seconds:.0f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def source_text(name: str) -> str:
    """A readable source name: selective_search/HSV/CTSF/50 is the grouping in HSV with similarity CTSF and k 50."""
    parts = name.split("/")
    return f"{parts[1]}, {parts[2]}, k {parts[3]}" if parts[0] == "selective_search" and len(parts) == 4 else name


def box_text(box: np.ndarray) -> str:
    """A box (4,) xyxy in whole pixels."""
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    return f"{x1}, {y1} to {x2}, {y2}"


def plural(count: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"
