"""Finds label faults in a data set; the same as `detector check`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]])
