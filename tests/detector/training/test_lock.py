"""One training a folder: a second process is refused, and a killed one leaves no lock."""

import subprocess
import sys
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.training.lock import only_run_in

HOLD = """
import sys
from pathlib import Path
from detector.training.lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path):
    out = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"{out}: another run is writing there"), only_run_in(out):
            pass
        with only_run_in(tmp_path / "other"):
            pass
        first.kill()
        first.wait()
        with only_run_in(out):
            pass
    with only_run_in(out):
        pass
