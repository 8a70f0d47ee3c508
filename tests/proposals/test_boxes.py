import math

import pytest
import torch
import torchvision.ops

from proposals.boxes import MAX_LOG_SIZE, box_iou, decode_boxes, encode_boxes


def test_deltas_by_hand():
    """Region 10 x 20 at (0, 0), object 20 x 20 at (5, 10): dx = 1, dy = .5, log 2, log 1, over (.1, .1, .2, .2)."""
    box_deltas = encode_boxes(torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 10, 25, 30]]))
    torch.testing.assert_close(box_deltas, torch.tensor([[10.0, 5.0, math.log(2) / 0.2, 0.0]]))


def test_decoding_inverts_encoding():
    torch.manual_seed(0)
    corner, size = torch.rand(50, 2) * 300, torch.rand(50, 2) * 200 + 1
    regions = torch.cat((corner, corner + size), dim=1)
    targets = regions[torch.randperm(50)]
    torch.testing.assert_close(decode_boxes(regions, encode_boxes(regions, targets)), targets, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("log_size", [50.0, 1e6])
def test_large_log_sizes_are_clamped(log_size: float):
    box = decode_boxes(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, log_size, 0]]))
    assert box[0, 2] - box[0, 0] == pytest.approx(16 * math.exp(MAX_LOG_SIZE), rel=1e-5)


def test_iou_equals_torchvisions():
    torch.manual_seed(0)
    corner, size = torch.rand(30, 2) * 50, torch.rand(30, 2) * 30 + 0.1
    boxes = torch.cat((corner, corner + size), dim=1)
    torch.testing.assert_close(box_iou(boxes, boxes[:7]), torchvision.ops.box_iou(boxes, boxes[:7]))
    assert box_iou(boxes, boxes[:0]).shape == (30, 0)
    assert box_iou(boxes, boxes).diag().tolist() == pytest.approx([1.0] * 30)
