"""Finds objects in photos; the same as `detector detect`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["detect", *sys.argv[1:]])
