"""Measures speed and memory beside other software; the same as `detector benchmark`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])
