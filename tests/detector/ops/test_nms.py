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


def test_detecting_does_not_import_the_whole_of_torchvision():
    code = (
        "import sys, torch; from detector.ops.nms import class_nms;"
        "print(class_nms(torch.tensor([[0., 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9]]), torch.tensor([.5, .9, .4]),"
        "torch.tensor([0, 0, 1]), .3).tolist());"
        "import detector.inference.detector; sys.exit('torchvision' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[1, 2]"
