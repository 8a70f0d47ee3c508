"""Proposes boxes, or reports how well they cover a data set; the same as `detector propose`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["propose", *sys.argv[1:]])
