"""From a model file or a configuration to a detector."""

from dataclasses import replace
from pathlib import Path

import torch

from detector.config import DetectorConfig, PostprocessConfig, RCNNConfig, Source
from detector.errors import InputError
from detector.inference.detector import Detector, first_with_multibox
from detector.inference.proposers import SharedMultiBox, load_multibox
from detector.inference.rfcn_scorer import RegionScorer, RFCNScorer
from detector.models.files import find_model, read_detector_config
from detector.models.weights import load_model
from proposals import Proposer, SelectiveSearch, UnionProposer


def load_detector(
    model: str | Path | None = None,
    device: str | torch.device = "auto",
    config: str | Path | None = None,
    source: Source | None = None,
    engine: str = "torch",
    precision: str | None = None,
) -> Detector:
    """A detector from a model file, by default the one that comes with the package (VOC's 20 classes).

    Args:
        model: a model file, or the name of an installed model: "voc07".
        config: a YAML file of a `DetectorConfig`, such as `configs/paper.yaml`, in place of `model`.
        device: as in `Detector`.
        source: of the regions: "selective_search", "multibox" or "both"; by default the model's.
        engine: what runs the networks: "torch", "onnx", or an .onnx file that `detector export` wrote from the model.
        precision: number format of the networks, "bfloat16" or "float32"; by default the faster one here.

    Raises:
        InputError: the model file, the configuration, the device, the source or the engine cannot be used; one line
            that says why.
    """
    if config is None:
        return Detector(load_model(model), device, source=source, engine=engine, precision=precision)
    if source is not None:
        raise InputError("give proposals or a configuration, which names its own, not both")
    if model is not None:
        raise InputError("give a model or a configuration, which names its models, not both")
    path = Path(config)
    return assemble(read_detector_config(path), path, device, engine, precision)


def assemble(
    config: DetectorConfig,
    path: Path,
    device: str | torch.device = "auto",
    engine: str = "torch",
    precision: str | None = None,
) -> Detector:
    """The detector that a configuration describes.

    Args:
        path: the file that the configuration comes from: models are relative to it, messages name it.

    Raises:
        InputError: a model cannot be used, or the configuration asks for what there is not.
    """

    def located(name: str) -> Path:
        return find_model(name, path.parent)

    models = []
    for name in config.models:
        model = load_model(located(name))
        if isinstance(model.config, RCNNConfig):
            changed = model.config
            if config.context is not None:
                try:
                    changed = replace(changed, crops=replace(changed.crops, context=config.context))
                except ValueError as error:
                    raise InputError(f"{path}: {error}") from None
            if config.head is not None:
                changed = replace(changed, head=config.head)
            model = replace(model, config=changed)
        models.append(model)
    if (config.head, config.context) != (None, None) and not any(m.kind == "crops" for m in models):
        raise InputError(f"{path}: head and context are for models that see crops, and none of these does")
    detector = Detector(
        models,
        device,
        None,
        PostprocessConfig(config.nms_iou, config.max_detections, voting_iou=config.voting_iou),
        config.box_regression,
        "selective_search",
        engine,
        precision,
    )
    asked = config.test_scales is not None or config.flip_test
    if asked and not any(isinstance(scorer, RFCNScorer) for scorer in detector.scorers):
        raise InputError(f"{path}: test_scales and flip_test are for models of one pass, and none of these is one")
    looks = [_looks(scorer, config) for scorer in detector.scorers]
    detector.scorers = tuple(scorer for own in looks for scorer in own)
    proposers: list[Proposer] = []
    source = config.multibox_model
    if config.multibox and source is not None and source not in config.models:
        proposers.append(load_multibox(located(source), config.multibox, detector.device))
    elif config.multibox:  # on the backbone of a model that is here anyway
        scorers = detector.scorers if source is None else looks[config.models.index(source)]
        try:
            proposers.append(SharedMultiBox(first_with_multibox(scorers), config.multibox))
        except InputError as error:
            raise InputError(f"{path}: multibox: {error}, or name a multibox_model") from None
    if config.proposals is not None:
        proposers.append(SelectiveSearch(config.proposals, torch.get_num_threads()))
    detector.proposer = proposers[0] if len(proposers) == 1 else UnionProposer(proposers)
    return detector


def _looks(scorer: RegionScorer, config: DetectorConfig) -> list[RegionScorer]:
    """A scorer for each input that a configuration wants a model to see; the first one is not mirrored."""
    if not isinstance(scorer, RFCNScorer):
        return [scorer]
    sides = config.test_scales or (scorer.config.input.short_side,)
    return [scorer.variant(side, flipped) for flipped in (False, True)[: 1 + config.flip_test] for side in sides]
