"""Trains a model by a recipe; the same as `detector train`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
