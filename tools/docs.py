"""Writes the documentation site; the same as `detector docs`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["docs", *sys.argv[1:]])
