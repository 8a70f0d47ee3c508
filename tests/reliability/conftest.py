import os
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":  # no signals, no memory limits, no forks
    collect_ignore_glob = ["*.py"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Starts the fork server, so that no command waits for it."""
    from tests.reliability.fork_server import run

    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # it imports this checkout
    assert run(["--version"], tmp_path_factory.mktemp("server")).code == 0
