"""The stages of a large run, moved by Ray Data."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from detector.bulk.listing import ImageList, Shard
from detector.bulk.network import DetectorSettings, Network
from detector.bulk.stages import Proposing, Reading, Row
from detector.errors import InputError
from proposals import Proposer

RETRIES = 3
"""Retries of a block of photos whose process died."""

# A run survives this many lost blocks, or as many as it has shards; more cannot be the fault of single photos.
_LOST_BLOCKS = 100
# Photos that a task reads before it passes them on.
_AT_ONCE = 8
# Size of a block between stages: about 80 photos of 500x375 pixels.
_BLOCK_BYTES = 8 << 20
# Data that may wait between the stages, for each worker.
_WAITING_BYTES = 256 << 20


@dataclass(frozen=True)
class Shares:
    """The cores and GPUs that each stage takes.

    Attributes:
        device: of the networks.
        networks: their number; each is a process with the model and, if there are GPUs, one of them.
        tasks: limit of the tasks that read, and of those that propose; None for as many as the cores allow.
        network, proposing, reading: cores of each process or task.
    """

    device: str
    networks: int
    network: float
    tasks: int | None
    proposing: float
    reading: float


@dataclass(frozen=True)
class Stages:
    """The stages that shards pass.

    Attributes:
        images: the list that the shards are parts of.
        start: folder that relative names begin in.
        proposer: makes the proposals that need no network.
        batch: photos in a batch of the network.
    """

    images: ImageList
    start: Path
    settings: DetectorSettings
    proposer: Proposer | None
    shares: Shares
    batch: int

    def rows(self, shards: Sequence[Shard], alone: bool) -> Iterator[Row]:
        """The finished photos in any order, without those of lost blocks; `alone` processes each photo by itself."""
        from ray.data import ActorPoolStrategy, TaskPoolStrategy, from_items

        tasks: Any = {"batch_format": "pyarrow", "compute": TaskPoolStrategy(self.shares.tasks), "max_retries": RETRIES}
        dataset: Any = from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
        reading = Reading(self.images, self.start, 1 if alone else _AT_ONCE)
        dataset = dataset.map_batches(reading, batch_size=1, num_cpus=self.shares.reading, **tasks)
        if self.proposer is not None:  # one photo at a time, because files can be large
            proposing = Proposing(self.proposer)
            dataset = dataset.map_batches(proposing, batch_size=1, num_cpus=self.shares.proposing, **tasks)
        dataset = dataset.map_batches(
            Network,
            fn_constructor_args=(replace(self.settings, device=self.shares.device),),
            batch_size=1 if alone else self.batch,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=self.shares.networks, max_tasks_in_flight_per_actor=1),
            num_cpus=self.shares.network,
            num_gpus=1 if self.shares.device == "cuda" else None,
            max_task_retries=RETRIES,
        )
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from table.to_pylist()


@contextmanager
def connected(address: str | None, workers: int | None, device: str) -> Iterator[None]:
    """Connects to Ray: to the caller's, to a cluster, or to one on this machine alone that ends with the block."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = {}
    if not address:
        on_gpus = device != "cpu" and torch.cuda.is_available()  # then all cores read and propose
        cores = default_workers() if on_gpus else workers or default_workers()
        local = {"num_cpus": cores, "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"--ray {address}: cannot be reached" if address else "Ray does not start"
        raise InputError(f"{where} ({' '.join(str(error).split())})") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def data_settings(workers: int, shards: int) -> Iterator[None]:
    """Keeps Ray's data sets small and quiet within the block."""
    from ray.data import DataContext, ExecutionResources

    context = DataContext.get_current().copy()
    context.target_max_block_size = _BLOCK_BYTES
    context.max_errored_blocks = max(_LOST_BLOCKS, shards)
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.resource_limits = ExecutionResources(object_store_memory=_WAITING_BYTES * workers)
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # lost photos are reported at the end
    try:
        # Ray warns that its option for retries will change.
        with DataContext.current(context), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def default_workers() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares_of(device: str, workers: int | None) -> Shares:
    """Divides the cores and GPUs of the cluster among the stages.

    Raises:
        InputError: they are too few, so that a stage would wait forever.
    """
    import ray

    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device != "cpu" and gpus:
        networks = workers or gpus
        if networks > gpus:
            raise InputError(f"--workers {networks}: Ray has {gpus} GPUs, and a worker takes one")
        if cores < networks + 2:
            need = f"{networks} networks, reading and proposing need {networks + 2}"
            raise InputError(f"--device {device}: Ray has {cores} cores, but {need}; give cpu, or Ray more cores")
        return Shares("cuda", networks, 1.0, None, 1.0, 0.25)
    if device == "cuda":
        raise InputError("--device cuda: Ray has no GPU; give cpu")
    if cores < 1 or (workers or 1) > cores:
        raise InputError(f"--workers {workers or 1}: Ray has {cores} cores, and a worker takes one")
    networks = workers or cores
    return Shares("cpu", networks, 0.5, networks, 0.4, 0.1)
