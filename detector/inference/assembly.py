"""Detectors from model files and configurations."""

from dataclasses import replace
from pathlib import Path

import torch

from detector.config import (
    ClassifierConfig,
    DetectorConfig,
    PostprocessConfig,
    RCNNConfig,
    RegionClassifierConfig,
    Source,
)
from detector.errors import InputError
from detector.inference.class_transfer import ClassifierScorer, ClassTransfer
from detector.inference.pipeline import DetectionPipeline
from detector.inference.proposers import SharedMultiBox, first_with_multibox, load_multibox
from detector.inference.rfcn_scorer import RegionScorer, RFCNScorer
from detector.models.classifier import ImageClassifier
from detector.models.files import classes_file, find_detector, find_model
from detector.models.synsets import synset_classes
from detector.models.weights import Model, load_model
from proposals import Proposer, SelectiveSearch, UnionProposer
from proposals.names import unknown_name


def load_pipeline(
    model: str | Path | None = None,
    device: str | torch.device = "auto",
    config: str | Path | None = None,
    source: Source | None = None,
    engine: str = "torch",
    precision: str | None = None,
) -> DetectionPipeline:
    """Loads a detector, by default the installed model of VOC's 20 classes.

    Args:
        model: a model file, or the name of an installed model ("voc07") or configuration ("ilsvrc200").
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps", or a `torch.device`.
        config: a YAML file with a `DetectorConfig`, or the name of one in the package ("best"), in place of `model`.
        source: of the proposals: "selective_search", "multibox" or "both"; by default the model's setting.
        engine: runs the networks: "torch", "onnx", or an .onnx file that `detector export` wrote from the model.
        precision: number format of the networks, "bfloat16" or "float32"; by default the faster one on this device.

    Raises:
        InputError: the model file, the configuration, the device, the source or the engine cannot be used.
    """
    path, read = find_detector(model, config)
    if read is None:
        return DetectionPipeline(load_model(path), device, source=source, engine=engine, precision=precision)
    if source is not None:
        raise InputError("give proposals or a configuration (it sets the proposals), not both")
    return assemble(read, path, device, engine, precision)


def assemble(
    config: DetectorConfig,
    path: Path,
    device: str | torch.device = "auto",
    engine: str = "torch",
    precision: str | None = None,
) -> DetectionPipeline:
    """Builds the detector that a configuration describes.

    Args:
        path: file of the configuration: models are relative to its folder, messages name it.
        device, engine, precision: as in `load_pipeline`.

    Raises:
        InputError: a model cannot be used, or does not fit the configuration.
    """
    models = [_configured(load_model(find_model(name, path.parent)), config, path) for name in config.models]
    if (config.head, config.context) != (None, None) and all(model.kind != "crops" for model in models):
        raise InputError(f"{path}: head and context apply only to R-CNN models on crops; add one to models")
    detector = DetectionPipeline(
        models,
        device,
        postprocess=PostprocessConfig(
            config.nms_iou, config.max_detections, voting_iou=config.voting_iou, agnostic_nms=config.agnostic_nms
        ),
        box_regression=config.box_regression,
        source="selective_search",
        engine=engine,
        precision=precision,
    )
    augmented = config.test_scales is not None or config.flip_test
    if augmented and not any(isinstance(scorer, RFCNScorer) for scorer in detector.scorers):
        raise InputError(f"{path}: test_scales and flip_test apply only to R-FCN models; add one to models")
    by_model = [_with_test_inputs(scorer, config) for scorer in detector.scorers]
    scorers = [scorer for group in by_model for scorer in group]
    proposers: list[Proposer] = []
    source = config.multibox_model
    if config.multibox and source is not None and source not in config.models:
        proposers.append(load_multibox(find_model(source, path.parent), config.multibox, detector.device))
    elif config.multibox:  # on the backbone of a model that scores the regions too
        try:
            scorer = first_with_multibox(scorers if source is None else by_model[config.models.index(source)])
        except InputError as error:
            raise InputError(f"{path}: multibox: {error}, or name a multibox_model") from None
        proposers.append(SharedMultiBox(scorer, config.multibox))
    if config.proposals is not None:
        proposers.append(SelectiveSearch(config.proposals, torch.get_num_threads()))
    proposer = proposers[0] if len(proposers) == 1 else UnionProposer(proposers)
    assembled = detector.replace(scorers=scorers, proposer=proposer)
    return assembled if config.classifier is None else _with_classifier(assembled, config.classifier, path)


def _with_classifier(detector: DetectionPipeline, config: RegionClassifierConfig, path: Path) -> DetectionPipeline:
    """The detector of the classes that a classifier names in its regions."""
    scorers = [scorer for scorer in detector.scorers if isinstance(scorer, RFCNScorer)]
    if len(scorers) < len(detector.scorers):
        raise InputError(f"{path}: classifier needs the regions of R-FCN models; leave out models on crops")
    model = load_model(find_model(config.model, path.parent), ("classification",))
    assert isinstance(model.network, ImageClassifier)
    assert isinstance(model.config, ClassifierConfig)
    classes = synset_classes(model.class_names, classes_file(config, path))
    scorer = ClassifierScorer(model.network, model.config.backbone, config, classes, detector.device, detector.dtype)
    for name in config.unnamed:
        if name not in detector.class_names:
            raise InputError(f"{path}: unnamed: {unknown_name('class', name, detector.class_names)}")
    calibration = detector.config.postprocess.calibration
    for region_scorer in scorers:  # calibrated scores no longer tell the background's probability
        settings = replace(region_scorer.config.postprocess, calibration=(1.0, 0.0), class_calibrations=())
        region_scorer.config = replace(region_scorer.config, postprocess=settings)
    return detector.with_classes(scorer, ClassTransfer(config, classes, detector.class_names, calibration))


def _configured(model: Model, config: DetectorConfig, path: Path) -> Model:
    """The model with the head and the context of crops that the configuration sets."""
    if not isinstance(model.config, RCNNConfig):
        return model
    crops = model.config.crops
    try:
        crops = crops if config.context is None else replace(crops, context=config.context)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return replace(model, config=replace(model.config, crops=crops, head=config.head or model.config.head))


def _with_test_inputs(scorer: RegionScorer, config: DetectorConfig) -> list[RegionScorer]:
    """A scorer for each test scale, then, with `flip_test`, for the mirrored image at each."""
    if not isinstance(scorer, RFCNScorer):
        return [scorer]
    scales = config.test_scales or (scorer.config.input.short_side,)
    return [scorer.with_input(side, flipped) for flipped in (False, True)[: 1 + config.flip_test] for side in scales]
