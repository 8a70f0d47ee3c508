"""Exports a model's graph to ONNX or torch.export; the same as `detector export`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
