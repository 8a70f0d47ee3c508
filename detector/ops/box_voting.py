"""Box voting: boxes that were suppressed still say where the object is.

Source: Gidaris and Komodakis, 'Object detection via a multi-region and semantic segmentation-aware CNN model', ICCV
2015, section 4.3.
"""

from torch import Tensor

from proposals.boxes import box_iou

#: A box votes if its score is at least this part of the winner's: how the winner moves does not depend on the lowest
#: score that is asked for.
VOTING_SCORE = 0.25


def vote_boxes(winners: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Boxes (K, 4) of the winners of non-maximum suppression, each the mean of the boxes of its class around it.

    Args:
        winners: (K,) indices into the boxes.
        boxes: (N, 4) xyxy; scores: (N,); labels: (N,) int64.
        iou: a box votes, weighted by its score and its squared IoU (by the score alone in the paper: boxes come out
            looser, 0.8 mAP less at IoU 0.7 and as much at 0.5), if it overlaps the winner by at least this.
    """
    voted = boxes[winners].clone()
    for label in labels[winners].unique():
        own = (labels[winners] == label).nonzero()[:, 0]
        others = labels == label
        weights = scores[others] * (scores[others] >= VOTING_SCORE * scores[winners[own], None])
        overlaps = box_iou(voted[own], boxes[others])
        weights = weights * (overlaps >= iou) * overlaps**2
        voted[own] = (weights @ boxes[others]) / weights.sum(dim=1, keepdim=True)
    return voted
