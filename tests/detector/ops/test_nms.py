import subprocess
import sys

import pytest
import torch
from torchvision.ops import batched_nms

from detector.ops.nms import class_nms


@pytest.mark.parametrize("count", [0, 1, 500])
def test_equals_torchvisions_batched_nms(count: int):
    torch.manual_seed(0)
    corner = torch.rand(count, 2) * 100
    boxes = torch.cat((corner, corner + torch.rand(count, 2) * 60 + 1), dim=1)
    scores, labels = torch.rand(count), torch.randint(5, (count,))
    kept = class_nms(boxes, scores, labels, 0.3)
    assert kept.tolist() == batched_nms(boxes, scores, labels, 0.3).tolist()


@pytest.mark.parametrize("supported", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_torchvisions_operators_without_the_package(supported: bool):
    """Fails with a release that renames the library: add the name to `nms._LIBRARIES`. Under an unknown name the
    whole package is imported."""
    code = (
        "import sys, torch; from detector.ops import nms;"
        f"nms._LIBRARIES = nms._LIBRARIES if {supported} else ('_unknown',);"
        "print(nms.class_nms(torch.tensor([[0., 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9]]), torch.tensor([.5, .9, .4]),"
        "torch.tensor([0, 0, 1]), .3).tolist());"
        "import detector.inference.pipeline; print('torchvision' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[1, 2]", str(not supported)]
