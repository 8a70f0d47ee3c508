"""Non-maximum suppression by torchvision's operator."""

from torch import Tensor

from detector.ops.operators import torchvision_operators


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """NMS within each class.

    Args:
        boxes: (N, 4) xyxy, not negative.
        scores: (N,).
        labels: (N,) int64.
        iou: a box is suppressed if a better box of its class overlaps it by more than this.

    Returns:
        Indices of the kept boxes, best first.
    """
    if len(boxes) == 0:
        return labels.new_zeros(0)
    # Shift the boxes of each class apart, so that classes do not interact.
    shifts = labels.to(boxes.dtype) * (boxes.max() + 1)
    return torchvision_operators().nms(boxes + shifts[:, None], scores, iou)
