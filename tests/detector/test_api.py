"""The Python interface and `python -m detector`."""

import subprocess
import sys

import detector
from detector import api


def test_the_package_offers_the_interface():
    assert set(api.__all__) <= set(detector.__all__)
    for name in detector.__all__:
        assert getattr(detector, name) is getattr(api, name, getattr(detector, name))


def test_the_package_alone_imports_no_torch():
    program = "import sys, detector; detector.Detections; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_the_module_runs_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "detector", "detect", "--device", "tpu", "x.jpg"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --device tpu")
