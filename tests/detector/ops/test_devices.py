import subprocess
import sys

import pytest
import torch

from detector.errors import InputError
from detector.ops.devices import default_batch, resolve_device, without_denormals
from detector.ops.precision import fast_dtype


def denormal() -> float:
    return torch.tensor(1e-39).mul(1.0).item()


def test_denormals_are_zero_only_within_the_block():
    assert denormal() > 0
    with without_denormals():
        assert denormal() == 0
        with without_denormals():
            assert denormal() == 0
        assert denormal() == 0
    assert denormal() > 0


def test_devices():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for unknown in ("gpu", "cuda:x", torch.device("meta"), None):
        with pytest.raises(InputError, match=f"device '{unknown}' is unknown") as caught:
            resolve_device(unknown)
        assert "mean 'cpu'" not in str(caught.value)
    with pytest.raises(InputError, match=r"'cdua'.*'cuda'"):
        resolve_device("cdua")
    with pytest.raises(InputError, match="device 'cuda:99': PyTorch finds"):
        resolve_device("cuda:99")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu():
    with pytest.raises(InputError, match="finds no CUDA GPU"):
        resolve_device("cuda")


@pytest.mark.slow
def test_cores_are_shared_between_images() -> None:
    program = """
import cv2, threading, torch
from detector.ops.devices import share_cores
torch.set_num_threads(3)
found = []
thread = threading.Thread(target=lambda: found.append(share_cores()))
thread.start(); thread.join()
print(found[0], torch.get_num_threads(), share_cores(), torch.get_num_threads(), cv2.getNumThreads())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "3", "3", "1", "1"]


def test_apples_gpu_is_used_where_pytorch_has_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == resolve_device(torch.device("mps")) == torch.device("mps")
    assert fast_dtype("mps") == torch.float32, "nothing is measured"
    assert default_batch("mps") == 1
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"device 'mps'.*use cpu"):
        resolve_device("mps")
