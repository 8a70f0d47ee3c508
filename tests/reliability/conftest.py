import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform == "win32":  # no signals, no memory limits, no forks
    collect_ignore_glob = ["*.py"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs commands in processes that have imported everything."""
    from tests.reliability.fork_server import ForkServer

    with ForkServer(tmp_path_factory.mktemp("fork-server")) as running:
        yield running
