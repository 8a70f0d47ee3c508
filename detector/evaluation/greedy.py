"""The rule of matching that ILSVRC and COCO share: a detection takes the best object that is still free."""

import numpy as np
import numpy.typing as npt

from detector.evaluation.matching import Pairs


def take_free_objects(
    pairs: Pairs,
    groups: npt.NDArray[np.int64],
    object_count: int,
    *,
    last_of_equals: bool = False,
) -> npt.NDArray[np.int64]:
    """Gives each detection, in turn, the free object of highest IoU among its pairs.

    All groups go on at the same time: in every round the first detection of each group that still has a pair takes
    its object, and the pairs of both are struck out. So there are at most as many rounds as a group has objects,
    however many detections it has.

    Args:
        pairs: those that are allowed to match, from `matching.pairs_of_a_class`. Its detections are numbered from the
            highest score to the lowest.
        groups: (D,) number of each detection's group; detections of different groups share no object.
        object_count: number of objects; their numbers in `pairs` are below it.
        last_of_equals: of objects with equal IoU take the last one, not the first.

    Returns:
        (D,) int64 the object that each detection takes; -1 if it takes none.
    """
    taken = np.full(len(groups), -1, dtype=np.int64)
    free = np.ones(object_count, dtype=bool)
    tie = -pairs.objects if last_of_equals else pairs.objects
    order = np.lexsort((tie, -pairs.overlaps, pairs.detections, groups[pairs.detections]))
    rows, objects = pairs.detections[order], pairs.objects[order]
    while len(rows):
        group = groups[rows]
        first = np.append(True, group[1:] != group[:-1])
        taken[rows[first]] = objects[first]
        free[objects[first]] = False
        left = free[objects] & (taken[rows] < 0)
        rows, objects = rows[left], objects[left]
    return taken
