"""Counts, joins, splits and converts data sets; the same as `detector data`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["data", *sys.argv[1:]])
