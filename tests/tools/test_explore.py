"""The command `explore`, up to the server and as far as it goes without a browser."""

import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from detector.errors import InputError
from detector.explorer.server import listen
from proposals.extras import needs_extra
from tests.tools.detect_tools import ROOT


def test_without_the_extra_it_says_what_to_install():
    code = "import sys; sys.modules['uvicorn'] = None; from detector.cli import main; main(['explore'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"error: {needs_extra('the explorer', 'explore')}\n"


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: cannot be used .*give another port"):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match=r"no-such-host\.invalid: not an address"):
        listen("no-such-host.invalid", 0)


@pytest.mark.slow
def test_it_serves_this_machine_until_it_is_interrupted():
    command = [sys.executable, ROOT / "tools/explore.py", "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            line = next(line for line in server.stdout if line.startswith("http"))
            assert line.startswith("http://127.0.0.1:")
            assert "only this machine" in line
            with urllib.request.urlopen(line.split()[0], timeout=20) as answer:
                assert b"stage by stage" in answer.read()
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()  # a failed assertion would otherwise wait for its end
