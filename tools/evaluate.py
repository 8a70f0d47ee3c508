"""Measures average precision; the same as `detector evaluate`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
