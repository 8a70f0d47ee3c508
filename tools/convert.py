"""Converts classification weights; the same as `detector convert`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])
