"""Shows a detection stage by stage in the browser; the same as `detector explore`."""

import sys

from detector.cli import main

if __name__ == "__main__":
    main(["explore", *sys.argv[1:]])
