"""The training loop of the region classifier."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from detector.caffe import load_caffe_weights
from detector.config import OptimizerConfig, Recipe, config_hash, to_plain
from detector.data.annotations import Sample
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.calibration import fit_calibration
from detector.evaluation.coverage import read_pixels
from detector.evaluation.predictions import LOWEST_SCORE, check_size
from detector.evaluation.voc import VOCResult, voc_average_precision
from detector.images import Image, read_image
from detector.network import RegionClassifier
from detector.pipeline import Detector, resolve_device
from detector.precision import fast_dtype
from detector.regions import Regions
from detector.training.checkpoint import load_checkpoint, save_checkpoint
from detector.training.examples import Example, make_example, sample_index
from detector.training.interrupts import deferred_interrupts
from detector.training.targets import hardest, match_regions, region_losses
from detector.weights import Model, load_model, save_model
from proposals import ProposalCache, Proposals, SelectiveSearch, propose_files, warm_up

log = logging.getLogger(__name__)

LOG_EVERY = 50


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Rate of a step: linear warm-up, then half a cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return config.rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


class Trainer:
    """Trains a region classifier on a data set in VOC's layout; `run` goes on where a checkpoint in `out` stopped.

    Args:
        recipe: what to do.
        root: the folder that holds `JPEGImages`.
        out: folder for checkpoints, logs and the exported model.
        init: weights to start a new run from: the BVLC `.npz`, or a model file of this project.
        cache: folder of cached proposals.
        device: "auto", "cpu", "cuda".

    Raises:
        InputError: data, weights or checkpoint cannot be used.
    """

    def __init__(
        self, recipe: Recipe, root: Path, out: Path, init: Path | None, cache: Path, device: str = "auto"
    ) -> None:
        self.recipe, self.out = recipe, out
        self.recipe_hash = config_hash(recipe)
        self.device = resolve_device(device)
        self.dtype = fast_dtype(str(self.device))
        self.data = VOCDataset(root, recipe.data.train_split)
        self.held_back = VOCDataset(root, recipe.data.eval_split)
        self.cache = ProposalCache(cache, SelectiveSearch(recipe.model.proposals))
        torch.manual_seed(recipe.seed)
        network = RegionClassifier(len(self.data.class_names), recipe.model.network)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.network.trunk.freeze_stem()
        self.optimizer = _optimizer(self.network, recipe.optimizer)
        average = get_ema_multi_avg_fn(recipe.optimizer.ema_decay)
        self.checkpoint = out / "checkpoint.pt"
        self.step, self.saved_step, self.seconds = 0, 0, 0.0
        resumed = self.checkpoint.exists()
        if not resumed:
            _initialise(self.network, init)
        self.ema = AveragedModel(self.network, multi_avg_fn=average)
        if resumed:
            self._restore(load_checkpoint(self.checkpoint, self.recipe_hash))

    def run(self) -> None:
        """Trains to the recipe's last step, with checkpoints, evaluations and logs on the way.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; `saved_step` is the step that a new run goes on from.
            InputError: an image or its annotation cannot be used, or the training diverged.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        steps, every = self.recipe.optimizer.steps, self.recipe.eval_every
        state = (self.step, steps, self.recipe_hash, self.dtype, self.device)
        log.info("step %d of %d, recipe %s, %s on %s", *state)
        self._fill_cache()
        with SummaryWriter(str(self.out), purge_step=self.step + 1) as board:
            while True:
                if self.step == steps or (self.step > 0 and self.step % every == 0):
                    self._evaluate_and_export(board)
                if self.step == steps:
                    return
                with deferred_interrupts() as interrupted:
                    self._train_until(min(steps, self.step - self.step % every + every), board, interrupted)

    def _train_until(self, last: int, board: SummaryWriter, interrupted: Callable[[], bool]) -> None:
        window: list[list[float]] = []
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as loader:
            coming = loader.submit(self.example, self.step)
            while self.step < last:
                example = coming.result()
                coming = loader.submit(self.example, self.step + 1)
                window.append(self.train_step(example))
                self.step += 1
                if self.step % LOG_EVERY == 0 or self.step == last:
                    now = time.perf_counter()
                    self.seconds += now - started
                    self._log(board, window, (now - started) / len(window))
                    window, started = [], now
                if self.step % self.recipe.checkpoint_every == 0 or self.step == last or interrupted():
                    self.save()
                if interrupted():
                    raise KeyboardInterrupt

    def _fill_cache(self) -> None:
        """Computes all proposals ahead, with a progress bar; finds images that cannot be read before they matter."""
        warm_up(log.info)
        paths = [self.data.image_path(index) for index in range(len(self.data))]
        done = propose_files(
            paths, self.cache.proposer, read_pixels, workers=torch.get_num_threads(), cache=self.cache.directory
        )
        for file in tqdm(done, total=len(paths), desc="proposals", unit="image"):
            if file.error is not None:
                raise InputError(f"{file.path}: {file.error}; mend it or take it out of the split")

    def example(self, step: int) -> Example:
        """What a step trains on; depends on nothing but the recipe's seed and the step."""
        index = sample_index(self.recipe.seed, step, len(self.data))
        sample = self.data[index]
        image, proposals = self._proposals(sample)
        return make_example(
            image.pixels,
            proposals.boxes,
            sample.annotations,
            self.recipe.model.input,
            self.recipe.augmentation,
            self.recipe.seed,
            step,
        )

    def train_step(self, example: Example) -> list[float]:
        """One update; returns loss, classification loss, offset loss and gradient norm."""
        config = self.recipe.optimizer
        rate = learning_rate(config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        regions = Regions.of_images([example.regions.to(self.device)])
        targets = match_regions(
            regions.boxes,
            example.objects.to(self.device),
            example.labels.to(self.device),
            example.difficult.to(self.device),
        )
        with self._autocast():
            maps = self.network.vote_maps(example.image[None].to(self.device))
            with torch.no_grad():  # score every region, train only the hardest
                losses = region_losses(self.network.classify(maps, regions), targets)
            chosen = hardest(losses.total, regions, config.hard_regions)
            predictions = self.network.classify(maps, regions[chosen])
        losses = region_losses(predictions, targets[chosen])
        classification = losses.classification.sum() / config.hard_regions
        offsets = losses.offsets.sum() / config.hard_regions
        loss = classification + offsets
        if not torch.isfinite(loss):
            raise InputError(f"step {self.step}: the loss is {loss.item()}; lower the rate or look at the data")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        if not torch.isfinite(norm):
            raise InputError(f"step {self.step}: the gradient is {norm.item()}; lower the rate or look at the data")
        self.optimizer.step()
        self.ema.update_parameters(self.network)
        return [loss.item(), classification.item(), offsets.item(), norm.item()]

    def evaluate(self, count: int) -> VOCResult:
        """VOC07 average precision of the averaged network on the first `count` images of the held-back split."""
        detector = Detector(self._model({}), str(self.device))
        truth, found = [], []
        for index in range(count):
            sample = self.held_back[index]
            image, proposals = self._proposals(sample)
            truth.append(sample.annotations)
            found.append(detector.detect_proposals(image, proposals, LOWEST_SCORE))
        return voc_average_precision(truth, found, self.held_back.class_names, metric="voc07")

    def save(self) -> None:
        """Writes the checkpoint."""
        save_checkpoint(
            self.checkpoint,
            {
                "recipe": self.recipe_hash,
                "dtype": str(self.dtype),
                "config": to_plain(self.recipe),
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
        )

        self.saved_step = self.step

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.saved_step = self.step
        # the run goes on in the format it began in, also where another would be faster now
        self.dtype = torch.bfloat16 if state["dtype"] == str(torch.bfloat16) else torch.float32
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _proposals(self, sample: Sample) -> tuple[Image, Proposals]:
        data = sample.image_path.read_bytes()
        image = read_image(data, str(sample.image_path))
        try:
            check_size((image.width, image.height), sample.annotations.image_size)
        except InputError as error:
            raise InputError(f"{sample.image_path}: {error}") from None
        return image, self.cache.get(data, lambda: self.cache.proposer(image.pixels))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _model(self, facts: dict[str, Any]) -> Model:
        network = self.ema.module
        assert isinstance(network, RegionClassifier)
        return Model(network, self.recipe.model, self.data.class_names, facts)

    def _evaluate_and_export(self, board: SummaryWriter) -> None:
        """Evaluates on the first held-back images, after the last step on all; writes the calibrated model."""
        split, count = self.recipe.data.eval_split, len(self.held_back)
        if self.step < self.recipe.optimizer.steps:
            count = min(count, self.recipe.data.eval_limit)
        result = self.evaluate(count)
        log.info(
            "step %d: mAP %.4f on %d images of %s; at score 0.5 precision %.3f, recall %.3f",
            self.step, result.mean_ap, count, split, *result.at_score(0.5),
        )  # fmt: skip
        board.add_scalar("mAP", result.mean_ap, self.step)
        facts = {
            "recipe": self.recipe_hash,
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "mAP": round(result.mean_ap, 4),
            "metric": result.metric,
            "split": split,
            "images": count,
        }
        model = self._model(facts)
        calibration = fit_calibration(result)
        post = dataclasses.replace(model.config.postprocess, calibration=calibration)
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, postprocess=post))
        save_model(model, self.out / "model.safetensors")

    def _log(self, board: SummaryWriter, window: list[list[float]], seconds: float) -> None:
        loss, classification, offsets, norm = torch.tensor(window).mean(dim=0).tolist()
        rate = self.optimizer.param_groups[0]["lr"]
        hours = seconds * (self.recipe.optimizer.steps - self.step) / 3600
        log.info(
            "step %d/%d  loss %.3f (classes %.3f, offsets %.3f)  gradient %.2f  rate %.5f  %.3f s a step, %.1f h to go",
            self.step, self.recipe.optimizer.steps, loss, classification, offsets, norm, rate, seconds, hours,
        )  # fmt: skip
        for name, value in (("loss", loss), ("loss/classes", classification), ("loss/offsets", offsets)):
            board.add_scalar(name, value, self.step)
        board.add_scalar("gradient", norm, self.step)
        board.add_scalar("rate", rate, self.step)


def _optimizer(network: RegionClassifier, config: OptimizerConfig) -> torch.optim.SGD:
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum, fused=True)


def _initialise(network: RegionClassifier, init: Path | None) -> None:
    if init is None:
        raise InputError("a new run needs weights to start from: give --init with the BVLC .npz or a model file")
    if init.suffix == ".npz":
        load_caffe_weights(network.trunk, init)
        return
    source: dict[str, Tensor] = load_model(init).network.state_dict()
    own = network.state_dict()
    matching = {k: v for k, v in source.items() if k in own and own[k].shape == v.shape}
    log.info("%d of %d tensors from %s", len(matching), len(own), init)
    network.load_state_dict(matching, strict=False)
