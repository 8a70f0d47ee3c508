"""Classifies whole photos; the same as `detector classify`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["classify", *sys.argv[1:]])
