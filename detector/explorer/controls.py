"""The controls of an explained photo: the options of its choices and the values of its sliders."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.explorer.panels import box_text, source_text
from detector.explorer.regions import notable_regions
from detector.explorer.stages import STAGES, Explanation

_STAGE_NAMES = dict(
    zip(STAGES, ("network, whole photo", "proposals", "scores of all regions", "post-processing"), strict=True)
)
_SCORES = tuple(round(0.01 * i, 2) for i in (1, 2, 3, 5, *range(10, 100, 5), 97, 99))
_IOUS = tuple(round(0.05 * i, 2) for i in range(21))


def make_controls(explanation: Explanation) -> dict[str, Any]:
    """What the page's template shows above the stages and in their forms.

    Returns:
        Sliders (values and initial position) and choices (values and texts) by name; `stages`: name, seconds and share
        of each stage; `seconds` in all; number of `detections`; `voting`: whether the detector votes on boxes.
    """
    groupings, proposals = explanation.groupings, explanation.proposals
    config = explanation.detector.postprocess
    total = sum(explanation.seconds.values())
    used = {grouping.space: grouping.used for grouping in groupings}
    most_superpixels = max((grouping.hierarchy.superpixels for grouping in groupings), default=1)
    regions = []
    for region in notable_regions(explanation):
        scores = explanation.scored.scores[region]
        label = int(scores.argmax())
        text = f"{explanation.class_names[label]} {scores[label]:.2f} at {box_text(proposals.boxes[region])}"
        regions.append((region, text))
    return {
        "stages": [(_STAGE_NAMES[name], seconds, seconds / total) for name, seconds in explanation.seconds.items()],
        "seconds": total,
        "detections": len(explanation.detections()),
        "spaces": [(space, f"{space} (used)" if used[space] else space) for space in used],
        "similarities": [(name, name) for name in dict.fromkeys(grouping.similarity for grouping in groupings)],
        "ks": [(k, k) for k in dict.fromkeys(f"{grouping.k:g}" for grouping in groupings)],
        "levels": _counts(most_superpixels, 30),
        "boxes": _counts(len(proposals), 100),
        "sources": [(-1, "all"), *enumerate(map(source_text, proposals.source_names))],
        "regions": regions,
        "labels": [(-1, "its best class"), *enumerate(explanation.class_names)],
        "low_score": _slider(_SCORES, 0.1),
        "score": _slider(_SCORES, 0.5),
        "nms_iou": _slider(_IOUS, config.nms_iou),
        "voting": config.voting_iou is not None and explanation.scored.box_deltas is not None,
    }


def _slider(values: Sequence[float], initial: float) -> dict[str, Any]:
    """A slider through ascending values that starts at the value nearest to `initial`."""
    return {"values": values, "position": min(range(len(values)), key=lambda i: abs(values[i] - initial))}


def _counts(most: int, initial: int) -> dict[str, Any]:
    """A slider through whole numbers from 1 to `most` in growing steps, with `initial` among them."""
    most = max(1, most)
    initial = min(initial, most)
    return _slider(np.unique([*np.geomspace(1, most, 80).round().astype(int), initial]).tolist(), initial)
