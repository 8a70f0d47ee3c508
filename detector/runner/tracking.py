"""Objects followed through the frames of a video, and counted: ByteTrack (Zhang et al., 2022), from the extra `track`.

The package trackers continues what the library supervision had of ByteTrack until its version 0.29.
"""

import importlib
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from detector.errors import InputError
from detector.structures.detections import Detections
from detector.structures.selection import Selection
from proposals.extras import needs_extra

Line = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the frame."""

_LOW = 0.5
"""Share of the lowest score down to which detections may continue a track (ByteTrack's second association)."""


class Tracker:
    """Gives the objects of one video ids that stay the same from frame to frame, and counts them.

    A track is certain, and gets its id, in its second frame.

    Args:
        selection: of the detections; one that continues a track may have half of its class's lowest score.
        frame_rate: frames per second that it will see.
        line: crossings of this line are counted.

    Raises:
        InputError: the packages of the extra `track` are not installed, or the line is a point.
    """

    def __init__(self, selection: Selection, frame_rate: float, line: Line | None = None) -> None:
        supervision, trackers = import_trackers()
        self._selection = selection
        self._tracker = trackers.ByteTrackTracker(
            frame_rate=frame_rate, track_activation_threshold=0.5, high_conf_det_threshold=0.5
        )
        self._label_of: dict[int, str] = {}
        self._zone: Any = None
        if line is not None:
            if line[:2] == line[2:]:
                raise InputError(f"line {line}: give two different points, x1,y1,x2,y2")
            ends = supervision.Point(*line[:2]), supervision.Point(*line[2:])
            self._zone = supervision.LineZone(*ends, triggering_anchors=[supervision.Position.CENTER])

    @staticmethod
    def candidates(selection: Selection) -> Selection:
        """The detections of a frame that the tracker needs to see."""
        class_scores = {name: score * _LOW for name, score in selection.class_scores.items()}
        return replace(selection, score=selection.score * _LOW, class_scores=class_scores, max_detections=None)

    def __call__(self, candidates: Detections) -> Detections:
        """The selected detections of the next frame with their `track_ids`, those that are tracked among them."""
        scores = self._selection.class_scores
        lowest = np.array([scores.get(name, self._selection.score) for name in candidates.class_names], np.float32)
        selected = candidates.scores >= lowest[candidates.labels]
        given = candidates.to_supervision()
        given.confidence = selected.astype(np.float32)  # ByteTrack has one threshold for all classes
        given.data["row"] = np.arange(len(candidates))
        followed = self._tracker.update(given)
        tracks = np.full(len(candidates), -1)
        if len(followed):
            # The first track is 1.
            tracks[followed.data["row"]] = np.where(followed.tracker_id < 0, -1, followed.tracker_id + 1)
        tracked = replace(candidates, track_ids=tracks)[selected | (tracks >= 0)]
        tracked = tracked.top(
            len(tracked) if self._selection.max_detections is None else self._selection.max_detections
        )
        for detection in tracked:
            if detection.track_id is not None:
                self._label_of.setdefault(detection.track_id, detection.label)
        if self._zone is not None:
            self._names = tracked.class_names
            self._zone.trigger(tracked.to_supervision())
        return tracked

    @property
    def counts(self) -> Counter[str]:
        """Number of different objects of each class so far."""
        return Counter(self._label_of.values())

    @property
    def crossings(self) -> dict[str, tuple[int, int]]:
        """How many objects of each class crossed the line, by their centers, in and out: in is from the right-hand side
        to the left-hand side, seen from (x1, y1) towards (x2, y2)."""
        if self._zone is None:
            return {}
        ways = self._zone.in_count_per_class, self._zone.out_count_per_class
        labels = sorted({label for way in ways for label in way})
        return {self._names[label]: (ways[0].get(label, 0), ways[1].get(label, 0)) for label in labels}

    def summary(self) -> str:
        """Counts of the tracks and crossings in a line."""
        counts, crossings = self.counts, self.crossings
        classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        text = f"{counts.total()} track{'s' * (counts.total() != 1)}" + (f" ({classes})" if classes else "")
        if self._zone is not None:
            ways = ", ".join(f"{name} {ins} in, {outs} out" for name, (ins, outs) in crossings.items())
            text += f"; across the line: {ways or 'none'}"
        return text


def import_trackers() -> tuple[Any, Any]:
    """The packages supervision and trackers; raises `InputError` if they are not installed."""
    try:
        return importlib.import_module("supervision"), importlib.import_module("trackers")
    except ModuleNotFoundError as error:
        if error.name not in ("supervision", "trackers"):  # an import inside the library failed
            raise
        raise InputError(needs_extra("tracking", "track")) from None
