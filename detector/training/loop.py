"""The training loop of all tasks: steps, checkpoints, averaging, logs, exact resume.

Accelerate and Lightning Fabric would not carry it: they average gradients by DistributedDataParallel, which needs one
call of the whole network per step where R-FCN's step calls its parts, and exact resume would remain this module's work.
"""

import logging
import math
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm.contrib.logging import logging_redirect_tqdm

from detector.config import config_hash, to_plain
from detector.errors import InputError
from detector.io.progress import Progress
from detector.models.weights import weights_hash
from detector.ops.devices import resolve_device
from detector.ops.distributed import any_process, average_gradients, rank, same_in_all, wait_for_all, world_size
from detector.ops.precision import fast_dtype
from detector.training.budget import Budget
from detector.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from detector.training.optimizer import ExponentialAverage, learning_rate, make_optimizer
from detector.training.prefetch import default_workers, prefetch
from detector.training.recipes import AnyRecipe

log = logging.getLogger(__name__)

LOG_EVERY = 50
"""Steps between two lines of the log."""

Example = TypeVar("Example")
Numbers = Mapping[str, float | Tensor]


class Task(ABC, Generic[Example]):
    """What is trained, on which examples, and how the result is evaluated.

    Attributes:
        recipe: the recipe of the whole run.
        network: the network to train; parameters that need no gradient stay fixed.
        head: names of the network's children whose learning rate is multiplied by `OptimizerConfig.head_lr_mult`.
        clipped_apart: those whose gradients are clipped by a norm of their own; by default the head.
        several_processes: whether `example` gives each process its part of the batch.
        workers: whether `example` may run in worker processes, which have no GPU and share no state.
    """

    recipe: AnyRecipe
    network: nn.Module
    head: tuple[str, ...] = ()
    clipped_apart: tuple[str, ...] = ()
    several_processes: bool = False
    workers: bool = False

    @abstractmethod
    def initialize(self, init: Path | None) -> None:
        """Sets the initial weights; called for a new run only."""

    def prepare(self) -> None:
        """Work before the first step."""

    def before_step(self, averaged: nn.Module, position: float) -> None:
        """Called before each step with the averaged network and the position in the schedule, in steps of the
        recipe."""

    @abstractmethod
    def example(self, step: int) -> Example:
        """What a step trains on; depends only on the recipe's seed, the step and the process's rank."""

    @abstractmethod
    def backward(self, model: nn.Module, example: Example, autocast: AbstractContextManager[None]) -> Numbers:
        """Computes the loss and its gradients; returns numbers to log, among them "loss". Numbers on a GPU stay there,
        because fetching them would wait for it.

        Args:
            model: the network.
            example: this process's part of the batch. The mean of the losses over the processes is the batch's loss.
        """

    @abstractmethod
    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Evaluates the averaged network, writes the model file into `out`, returns numbers to log.

        Args:
            metadata: about the training, for the model file.
            last: whether the training ends here.
        """


class TrainingLoop(Generic[Example]):
    """Trains a task; `run` resumes from the checkpoint in `out` if there is one.

    Several processes (torchrun) each train on their part of every example and average their gradients. The first one
    writes all files, and logs the numbers of its own part. If a process dies, all end; torchrun (`--max-restarts`) or
    the user starts them again.

    Args:
        task: what to train; its network is moved to the device.
        out: folder for checkpoints, logs and the model.
        init: initial weights of a new run.
        device: "auto", "cpu" or "cuda".
        workers: processes that make examples; by default none on a CPU, where a thread makes them, and as many as the
            cores suggest with a GPU.
        budget: time limit, for a task that trains in one process. If there is no time for all steps of the recipe, each
            step goes further in the schedule, as planned anew at every step. A resumed training ends with the same
            weights as an uninterrupted one, unless the time limit shortened it.
        on_step: called after each step with its numbers, such as "step", "loss", "lr" and "gradient", and after each
            evaluation with "step" and its result, such as "mAP". On a GPU, fetching these numbers takes time.

    Raises:
        InputError: weights or checkpoint cannot be used, or the task trains in one process only.
    """

    def __init__(
        self,
        task: Task[Example],
        out: Path,
        init: Path | None,
        device: str = "auto",
        workers: int | None = None,
        budget: Budget | None = None,
        on_step: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        if world_size() > 1 and not task.several_processes:
            raise InputError("this task trains in one process: start it without torchrun")
        self.task, self.out, self.budget, self.on_step = task, out, budget, on_step
        self.config = task.recipe.optimizer
        self.recipe_hash = config_hash(task.recipe)
        self.device = resolve_device(device)
        self.workers = default_workers(self.device) if workers is None else workers
        self.dtype = fast_dtype(str(self.device))
        self.network = task.network.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.network, self.config, task.head, task.clipped_apart or task.head)
        self.checkpoint = out / CHECKPOINT
        self.step, self.saved_step, self.seconds = 0, 0, 0.0
        self.lead, self.stride = 0.0, 1.0  # position in the schedule minus steps done; how far a step goes
        resumed = self.checkpoint.exists()
        if not resumed:
            task.initialize(init)
        self.ema = ExponentialAverage(self.network, self.config.ema_decay)
        if resumed:
            self._restore(load_checkpoint(self.checkpoint, self.recipe_hash))
        self._check_processes()

    def _check_processes(self) -> None:
        """Raises `InputError` if the processes would train different networks, for example on machines that do not
        share `out`: the mean of their gradients would fit none of them."""
        if any_process(self.dtype == torch.float32, self.device):  # each process measured it
            self.dtype = torch.float32
        if world_size() > 1:
            state = (self.step, int(self.recipe_hash, 16), int(weights_hash(self.network), 16))
            if not same_in_all(state, self.device):
                raise InputError(
                    f"{self.checkpoint}: the processes start from different steps, recipes or weights; "
                    "give all machines the same files, and --out in a folder that they share"
                )

    def run(self) -> None:
        """Trains to the end of the schedule, with checkpoints, evaluations and logs.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM; a new run resumes from `saved_step`.
            InputError: an image or annotation cannot be used, or the training diverged.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        steps, every = self.config.steps, self.task.recipe.eval_every
        state = (self.step, self.steps, self.recipe_hash, self.dtype, self.device, world_size())
        log.info("step %d of %d, recipe %s, %s on %s, processes: %d", *state)
        self.task.prepare()
        bar = Progress(
            desc="training", unit="step", initial=self.step, total=self.steps, smoothing=0.05, hidden=rank() > 0
        )
        with bar, self._tensorboard() as board, logging_redirect_tqdm():
            while True:
                if self.position == steps or (self.step > 0 and self.position % every == 0):
                    self._evaluate(board)
                if self.position == steps:
                    return
                with deferred_interrupts() as interrupted:
                    self._train_to_evaluation(board, bar, interrupted)

    @property
    def position(self) -> float:
        """Position in the schedule, in steps of the recipe."""
        return self.step + self.lead

    @property
    def steps(self) -> int:
        """Total number of steps by the current plan."""
        remaining = self.config.steps - self.position
        return self.step + round(remaining / self._plan()[0]) if remaining else self.step

    def _plan(self) -> tuple[float, int]:
        """How far the next step goes in the schedule, and the position of the next evaluation."""
        steps, every = self.config.steps, self.task.recipe.eval_every
        remaining, mark = steps - self.position, min(steps, int(self.position // every + 1) * every)
        if self.budget is None:
            return 1.0, mark
        stride, evaluates = self.budget.plan(remaining, steps - self.step, math.ceil(remaining / every) - 1)
        return stride, mark if evaluates else steps

    def _tensorboard(self) -> AbstractContextManager[SummaryWriter | None]:
        """TensorBoard's log, in the first process alone."""
        return nullcontext() if rank() > 0 else SummaryWriter(str(self.out), purge_step=self.step + 1)

    def _train_to_evaluation(self, board: SummaryWriter | None, bar: Progress, interrupted: Callable[[], bool]) -> None:
        """Trains until the next evaluation, whose position the last step reaches exactly."""
        window: list[Numbers] = []  # since the last line of the log
        window_start = step_start = time.perf_counter()
        workers = self.workers if self.task.workers else 0
        last = self._plan()[1] if self.budget is None else self.config.steps
        with prefetch(self.task.example, range(self.step, last), workers, self.device.type == "cuda") as examples:
            arrived = False
            while not arrived:
                try:
                    example = next(examples)
                except InputError:  # keep what has been learned
                    self._check_finite(window)
                    self.save()
                    raise
                stride, mark = self._plan()
                self.stride = min(stride, mark - self.position)
                arrived = self.stride == mark - self.position
                window.append(self.train_step(example))
                self.step += 1
                self.lead = float(mark - self.step) if arrived else self.lead + self.stride - 1
                bar.update()
                if self.on_step is not None:
                    numbers = {name: float(value) for name, value in window[-1].items()}
                    self.on_step(
                        {"step": self.step, **numbers, "lr": learning_rate(self.config, self.position - self.stride)}
                    )
                if self.budget is not None:
                    self.budget.record_step(time.perf_counter() - step_start)
                    step_start = time.perf_counter()
                stop = any_process(interrupted(), self.device)
                saving = self.step % self.task.recipe.checkpoint_every == 0 or arrived or stop
                if self.step % LOG_EVERY == 0 or saving:
                    self._check_finite(window)
                if self.step % LOG_EVERY == 0 or arrived:
                    now = time.perf_counter()
                    self.seconds += now - window_start
                    self._log(board, window, (now - window_start) / len(window))
                    window, window_start = [], now
                if saving:
                    self.save()
                if stop:
                    raise KeyboardInterrupt

    def train_step(self, example: Example) -> Numbers:
        """One update; returns the task's numbers and the norm of the gradient."""
        lr = learning_rate(self.config, self.position)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self.network.train()
        torch.manual_seed(self.task.recipe.seed * 1_000_003 + self.step)  # the same dropout after a resume
        self.optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        self.task.before_step(self.ema.module, self.position)
        numbers = self.task.backward(self.network, example, autocast)
        average_gradients(self.network.parameters())
        norm = self._clip_gradients()
        self.optimizer.step()
        self.ema.update_parameters(self.network, self.stride)
        return {**numbers, "gradient": norm}

    def _clip_gradients(self) -> Tensor:
        """Clips the gradients of `Task.clipped_apart` and of the rest, each by its norm, so that a head that is trained
        along does not slow the network down; returns the larger norm."""
        norms = []
        for apart in (False, True):
            groups = (group for group in self.optimizer.param_groups if group["clipped_apart"] == apart)
            parameters = [parameter for group in groups for parameter in group["params"]]
            if parameters:
                norms.append(torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip))
        return torch.stack(norms).max()

    def _check_finite(self, window: Sequence[Numbers]) -> None:
        """Raises `InputError` if the training diverged, before that is saved; not called at every step, because reading
        a number waits for the GPU."""
        for step, numbers in enumerate(window, self.step - len(window)):
            for name in ("loss", "gradient"):
                if not math.isfinite(value := float(numbers[name])):
                    raise InputError(f"step {step}: the {name} is {value}; lower the lr or check the data")

    def save(self) -> None:
        """Writes the checkpoint."""
        if rank() == 0:
            state = {
                "recipe": self.recipe_hash,
                "dtype": str(self.dtype),
                "config": to_plain(self.task.recipe),
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            if self.budget is not None:
                state |= {"lead": self.lead, "elapsed": self.budget.elapsed}
            save_checkpoint(self.checkpoint, state)
        self.saved_step = self.step

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = self.saved_step = state["step"]
        self.seconds = state["seconds"]
        if self.budget is not None:
            self.lead, self.budget.spent = state["lead"], state["elapsed"]
        # The run keeps its number format, even if another one would be faster now.
        self.dtype = torch.bfloat16 if state["dtype"] == str(torch.bfloat16) else torch.float32
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _evaluate(self, board: SummaryWriter | None) -> None:
        start = time.perf_counter()
        if board is not None:
            metadata = {"recipe": self.recipe_hash, "steps": self.step, "hours": round(self.seconds / 3600, 2)}
            numbers = self.task.evaluate(self.ema.module.eval(), metadata, self.out, self.position == self.config.steps)
            shown = (f"{name} {'-' if math.isnan(value) else f'{value:.4f}'}" for name, value in numbers.items())
            log.info("step %d: %s", self.step, ", ".join(shown))
            for name, value in numbers.items():
                board.add_scalar(name, value, self.step)
            if self.on_step is not None:
                self.on_step({"step": self.step, **numbers})
        wait_for_all()
        if self.budget is not None:
            self.budget.record_evaluation(time.perf_counter() - start)

    def _log(self, board: SummaryWriter | None, window: list[Numbers], seconds: float) -> None:
        if board is None:
            return
        mean = {name: sum(float(numbers[name]) for numbers in window) / len(window) for name in window[0]}
        lr = learning_rate(self.config, self.position - self.stride)
        minutes = seconds * (self.steps - self.step) / 60
        left = f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
        values = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
        state = (self.step, self.steps, values, lr, seconds, left)
        log.info("step %d/%d  %s  lr %.5f  %.3f s per step, %s left", *state)
        for name, value in {**mean, "lr": lr}.items():
            board.add_scalar(name, value, self.step)


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C or SIGTERM came within the block, so that they take effect between two
    steps; a second one interrupts at once.

    Only the main thread receives signals; in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        print("stopping after this step; press Ctrl-C again to stop at once", file=sys.stderr)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
