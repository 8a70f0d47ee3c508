"""Non-maximum suppression by torchvision's operator."""

from torch import Tensor

from detector.ops.operators import torchvision_operators


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Indices, best first, of the boxes that no better box of the same class overlaps by more than `iou`.

    Args:
        boxes: (N, 4) xyxy, not negative; scores: (N,); labels: (N,) int64.
    """
    if len(boxes) == 0:
        return labels.new_zeros(0)
    # boxes of different classes are moved apart, so that they do not meet
    shifts = labels.to(boxes.dtype) * (boxes.max() + 1)
    return torchvision_operators().nms(boxes + shifts[:, None], scores, iou)
