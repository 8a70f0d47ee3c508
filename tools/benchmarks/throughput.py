"""Images a second in batches on a GPU (or, to try it, on the CPU)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.detection import torchvision_detector
from benchmarks.measuring import Report, Task, interleave, photo_subject
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.batching import in_batches
from detector.inference.rfcn_scorer import RFCNScorer
from detector.ops.devices import resolve_device
from detector.structures.image import Image

BATCHES = (1, 4, 16)
NETWORK, REGIONS, WHOLE = "network", "network and regions", "detections, Selective Search on the CPU"
RIVAL = "torchvision fasterrcnn_resnet50_fpn"
_STREAM = 128
"""Images in one measurement of whole detections on a GPU: enough to keep the CPU's threads busy."""


def benchmark_throughput(
    image: Image,
    device: str,
    model: Path | None,
    *,
    repeats: int,
    threads: int,
    batches: Sequence[int] = BATCHES,
    rivals: bool = True,
    progress: bool = False,
) -> Report:
    """Times the network's pass, the pass with regions, and whole detections in batches, in turns with a rival.

    The pass goes from resized pixels in the CPU's memory to score maps, regions to scores in the CPU's memory. Whole
    detections start with a decoded photo; beside a GPU, CPU threads propose and post-process.

    Raises:
        InputError: PyTorch finds no such device, or the model cannot be used or is an R-CNN.
    """
    where = resolve_device(device)
    on_gpu = where.type == "cuda"
    if on_gpu:
        torch.set_num_threads(1)  # each image has a core, as in `detector detect`
    detector = load_pipeline(model, str(where), source="selective_search")
    if not isinstance(detector.scorers[0], RFCNScorer):
        raise InputError("this measures R-FCN models; for an R-CNN model give --crops")
    tasks = [task for batch in batches for task in _ours(detector, image, batch, threads if on_gpu else 1)]
    for batch in batches if rivals else ():
        run = torchvision_detector(RIVAL.split()[1], image, str(where), batch)
        against = (f"{WHOLE}, batch {batch}",)
        tasks.append(Task(f"{RIVAL}, batch {batch}", run, slow=True, items=batch, against=against))
    peaks = {task.name: _gpu_memory(task.run, where) for task in tasks} if on_gpu else {}
    timings = interleave(tasks, repeats, progress)
    name = torch.cuda.get_device_name(where) if on_gpu else "the CPU"
    return Report(
        {
            **photo_subject(image),
            "model": str(model or "the installed model"),
            "precision": detector.precision,
            "device": f"{name}, {threads} CPU threads",
        },
        timings,
        threads,
        peak_memory={f"of the GPU besides the weights, {task}": value for task, value in peaks.items()},
    )


def _ours(detector: Any, image: Image, batch: int, workers: int) -> list[Task]:
    scorer = detector.scorers[0]
    prepared = [detector.prepare(image)] * batch
    inputs = [ready.inputs[0] for ready in prepared]
    stream = _STREAM if workers > 1 else batch

    def detect() -> None:
        def finish(_: int, scored: Any) -> object:
            return detector.suppress(scored.proposals, scored.scores, 0.5)

        for result in in_batches(detector, range(stream), lambda _: image, finish, batch, workers):
            if isinstance(result, Exception):
                raise result

    return [
        Task(f"{NETWORK}, batch {batch}", lambda: scorer.encode_batch([image] * batch, inputs), items=batch),
        Task(f"{REGIONS}, batch {batch}", lambda: detector.score_batch(prepared), items=batch),
        Task(f"{WHOLE}, batch {batch}", detect, slow=True, items=stream),
    ]


def _gpu_memory(run: Callable[[], object], device: torch.device) -> float:
    """MiB that a run takes on a GPU at its peak."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20
