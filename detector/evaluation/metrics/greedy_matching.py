"""The rule of matching that ILSVRC and COCO share: a detection takes the best object that is still free."""

import numpy as np
import numpy.typing as npt

from detector.evaluation.metrics.voc_matching import Pairs


class FreeObjects:
    """Objects that detections take, piece by piece of `matching.pairs_of_a_class`.

    Args:
        groups: (D,) number of each detection's group; detections of different groups share no object. Detections are
            numbered from the highest score to the lowest.
        object_count: number of objects.
        shared: (N,) bool, objects that any number of detections may take; none by default.
        last_of_equals: of objects with equal IoU take the last one, not the first.

    Attributes:
        taken: (D,) int64 the object that each detection took; -1 if none so far.
    """

    def __init__(
        self,
        groups: npt.NDArray[np.int64],
        object_count: int,
        *,
        shared: npt.NDArray[np.bool_] | None = None,
        last_of_equals: bool = False,
    ) -> None:
        self.taken = np.full(len(groups), -1, dtype=np.int64)
        self._groups = groups
        self._free = np.ones(object_count, dtype=bool)
        self._shared = np.zeros(object_count, dtype=bool) if shared is None else shared
        self._last_of_equals = last_of_equals

    def take(self, pairs: Pairs) -> None:
        """Gives each detection, in turn, the free object of highest IoU among its pairs.

        All groups go on at the same time: in every round the first detection of each group that still has a pair takes
        its object, and the pairs of both are struck out. So there are at most as many rounds as a group has objects,
        and detections that take shared ones, however many other detections it has.

        Args:
            pairs: all of these detections that are allowed to match; none of a detection before the ones of earlier
                calls in its group.
        """
        pairs = pairs[self._free[pairs.objects]]
        tie = -pairs.objects if self._last_of_equals else pairs.objects
        order = np.lexsort((tie, -pairs.overlaps, pairs.detections, self._groups[pairs.detections]))
        rows, objects = pairs.detections[order], pairs.objects[order]
        while len(rows):
            group = self._groups[rows]
            first = np.append(True, group[1:] != group[:-1])
            self.taken[rows[first]] = objects[first]
            self._free[objects[first]] = self._shared[objects[first]]
            left = self._free[objects] & (self.taken[rows] < 0)
            rows, objects = rows[left], objects[left]
