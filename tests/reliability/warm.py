"""Imported by the fork server alone: what its children would otherwise import, compile and load one by one."""

import cv2
import torch.export
import torch.utils.tensorboard  # noqa: F401

import detector.training.assembly  # noqa: F401
from detector import load_detector
from detector.cli import _COMMANDS, _app
from proposals import warm_up
from tests.reliability.fork_server import ROOT

cv2.setNumThreads(1)  # a child has no OpenCV threads and would wait for them when it sets their number
_app(_COMMANDS)
warm_up()
load_detector()(ROOT / "tests/photos/cat.jpg")  # loads compiled kernels and chooses the precision
