"""Finds objects in very many photos; the same as `detector bulk`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["bulk", *sys.argv[1:]])
