"""Measures how long detection takes on this machine; the same as `detector benchmark`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])
