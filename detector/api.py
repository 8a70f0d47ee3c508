"""The Python interface: one object with everything that programs do with a detector. No other room imports this module.

Each method only calls the room that does the work, and imports what only it needs.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, overload

import torch

from detector.config import Source
from detector.errors import InputError
from detector.inference.assembly import load_pipeline
from detector.inference.pipeline import DetectionPipeline
from detector.inference.tiling import TiledPipeline, with_tiles
from detector.models.files import find_model
from detector.ops.devices import default_batch
from detector.runner.frame_detector import FrameDetector
from detector.runner.sources import find_media, needs_stream
from detector.runner.stream import Errors, Medium, stream
from detector.structures.detections import Detections
from detector.structures.image import ImageReference, as_image
from detector.structures.selection import Selection
from proposals.extras import needs_extra
from proposals.files import atomic_write
from proposals.names import as_names, unknown_name

if TYPE_CHECKING:
    from detector.data.custom_dataset import Layout
    from detector.data.reading import Part
    from detector.evaluation import Evaluation, Metric
    from detector.training.custom_dataset import FitResult
    from detector.training.custom_dataset.plan import Augment
    from detector.training.recipes import Labels

__all__ = ["Detector", "load_detector"]


def load_detector(
    model: str | Path | None = None,
    device: str | torch.device = "auto",
    *,
    proposals: Source | None = None,
    engine: str | Path = "torch",
    dtype: str | torch.dtype | None = None,
) -> "Detector":
    """Loads a detector, by default the installed model of VOC's 20 classes.

    Args:
        model: the name of an installed model ("voc07") or configuration ("best", "paper"), a model file
            (.safetensors) or the folder of a training, a configuration (.yaml, a `detector.config.DetectorConfig`), or
            the id of a model on the Hugging Face Hub ("me/mine", with the extra `hub`).
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps", or a `torch.device`.
        proposals: "selective_search", "multibox" or "both"; by default the model's setting.
        engine: runs the networks: "torch", "onnx", or an .onnx file that `Detector.export` wrote from the model.
        dtype: number format of the networks, "bfloat16" or "float32", or torch's; by default the one that a short
            measurement finds faster on the device.

    Raises:
        InputError: the model, the configuration, the device, the proposals, the engine or the format cannot be used.
    """
    return Detector(find_model(model), device, proposals=proposals, engine=engine, dtype=dtype)


class InputSettings(TypedDict, total=False):
    """How the network looks at a picture, for one call; what is left out stays as the detector was loaded.

    Attributes:
        proposals: source of the regions: "selective_search", "multibox" or "both".
        size: short side of the network's input in pixels; objects that are small in it are missed.
        tile: also look at overlapping square tiles of this side, in pixels of the picture; for large photos.
        overlap: share of a tile that its neighbors see too, by default 0.2; objects up to that size are never cut.
        iou: IoU above which the lower-scoring of two boxes is suppressed.
        agnostic_nms: whether boxes of different classes suppress each other too.
    """

    proposals: Source | None
    size: int | None
    tile: int | None
    overlap: float | None
    iou: float | None
    agnostic_nms: bool | None


class Settings(InputSettings, total=False):
    """What a call returns: the settings of `InputSettings`, and which detections are kept.

    Attributes:
        score: lowest score, by default 0.5; or by class, where the others have 0.5: {"cat": 0.7}.
        classes: names of the classes to keep; by default all.
        max_detections: keep the best of an image; by default 100, with tiles 100 of each.
        batch: pictures of a list or stream that pass the networks together; by default 1 on a CPU, 8 on a GPU.
        errors: for a picture of a list or stream that cannot be read, "raise" (the default) raises its error, "skip"
            logs it as a warning and leaves the picture out.
    """

    score: float | Mapping[str, float]
    classes: str | Iterable[str] | None
    max_detections: int | None
    batch: int | None
    errors: Errors


class Detector:
    """A detector, as `load_detector` returns it.

    Attributes:
        path: the model file or configuration.
        pipeline: the stages, for programs that use them one by one.
    """

    def __init__(
        self,
        path: Path,
        device: str | torch.device = "auto",
        *,
        proposals: Source | None = None,
        engine: str | Path = "torch",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        self.path = path
        self._proposals, self._engine = proposals, str(engine)
        self._load(device, dtype)

    def _load(self, device: str | torch.device, dtype: str | torch.dtype | None) -> None:
        precision = None if dtype is None else str(dtype).removeprefix("torch.")
        self.pipeline = load_pipeline(
            self.path, device, source=self._proposals, engine=self._engine, precision=precision
        )
        self._dtype = dtype

    def __repr__(self) -> str:
        kind = f"{self.pipeline.device}, {self.pipeline.precision}"
        return f"<Detector: {self.path.name}, {len(self.class_names)} classes, {kind}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that it detects."""
        return self.pipeline.class_names

    @property
    def class_ids(self) -> tuple[int | str, ...]:
        """The category id of each class."""
        return self.pipeline.class_ids

    def to(self, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Self:
        """Moves it to a device or to another number format; arguments and errors as in `load_detector`.

        Returns:
            The detector itself.
        """
        self._load(device or self.pipeline.device, dtype or self._dtype)
        return self

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, channels: str | None = None, **settings: Unpack[Settings]
    ) -> list[Detections]: ...

    @overload
    def __call__(self, images: Any, *, channels: str | None = None, **settings: Unpack[Settings]) -> Detections: ...

    def __call__(
        self, images: Any, *, channels: str | None = None, **settings: Unpack[Settings]
    ) -> Detections | list[Detections]:
        """Detections of an image, or a list of them for a list of images.

        Args:
            images: a path, an address (https://...), a PIL image, a (3, H, W) RGB tensor (uint8, or float in 0..1), an
                (H, W, 3) uint8 array, the bytes of a file, a `detector.Image`, or a list of these.
            channels: "RGB" or "BGR"; required for arrays.
            settings: `Settings` of this call.

        Raises:
            InputError: an image cannot be read, or a setting is unknown or out of range.
        """
        several = isinstance(images, list | tuple)
        if not several and settings.get("errors") == "skip":
            settings = {**settings, "errors": "raise"}
        for image in (pictures := images if several else [images]):
            if isinstance(image, str | Path) and needs_stream(image):
                raise InputError(f"{image}: is not the path of one photo; give it to stream(...)")
        references = [ImageReference.of(image, channels) for image in pictures]
        results = list(self._stream(references, settings))
        return results if several else results[0]

    def stream(
        self,
        source: str | Path | int | Sequence[str | Path],
        *,
        recursive: bool = False,
        frame_step: int = 1,
        track: bool = False,
        **settings: Unpack[Settings],
    ) -> Iterator[Detections]:
        """Detections in photos, videos and cameras, in order, each when it is asked for.

        Args:
            source: a photo, a video, a folder, a pattern (`photos/*.jpg`), a zip of photos, a list (.txt, a source a
                line), an address (https://..., rtsp://...), the number of a camera, or a list of these.
            recursive: look into the subfolders of a folder too.
            frame_step: take every n-th frame of a video.
            track: follow the objects of a video: `track_ids` (with the extra `track`).
            settings: `Settings` of this stream.

        Raises:
            InputError: a source cannot be read, or a setting is unknown or out of range.
        """
        sources = [str(source)] if isinstance(source, str | Path | int) else [str(each) for each in source]
        return self._stream(find_media(sources, recursive), settings, frame_step, track)

    def _stream(
        self, media: Iterable[Medium], settings: Settings, frame_step: int = 1, track: bool = False
    ) -> Iterator[Detections]:
        _check_names(settings, Settings)
        score, classes = settings.get("score", Selection.score), settings.get("classes")
        selection = Selection(
            score=Selection.score if isinstance(score, Mapping) else score,
            class_scores=score if isinstance(score, Mapping) else {},
            classes=None if classes is None else as_names(classes),
            max_detections=settings.get("max_detections"),
        ).named(self.pipeline.synonyms)
        selection.check(self.class_names)
        detector, batch = self._with(settings), settings.get("batch")
        if batch is None:
            batch = self._batch(detector)
        if not isinstance(batch, Integral) or batch < 1:
            raise InputError(f"batch {batch!r} is not a whole number of images, at least 1")
        if batch > 1 and isinstance(detector, TiledPipeline):
            raise InputError("batch has no meaning with tile, which sees one tile after the other; leave it out")
        frame_detector = FrameDetector(detector, selection, workers=1, batch=int(batch), draw=False)
        return stream(frame_detector, media, settings.get("errors", "raise"), frame_step, track)

    def _with(self, settings: Mapping[str, Any]) -> DetectionPipeline | TiledPipeline:
        names = ("iou", "agnostic_nms", "max_detections", "proposals", "size")
        pipeline = self.pipeline.with_settings(**{name: settings.get(name) for name in names})
        return with_tiles(pipeline, settings.get("tile"), settings.get("overlap"))

    def _batch(self, detector: DetectionPipeline | TiledPipeline) -> int:
        return 1 if isinstance(detector, TiledPipeline) else default_batch(self.pipeline.device.type)

    def evaluate(
        self,
        data: str | Path,
        photos: str | Path | None = None,
        *,
        classes: str | Iterable[str] | None = None,
        split: "Part" = "val",
        seed: int = 0,
        metric: "Metric | None" = None,
        iou_thresholds: Sequence[float] | None = None,
        limit: int | None = None,
        progress: bool = False,
        **settings: Unpack[InputSettings],
    ) -> "Evaluation":
        """Evaluates it on a data set; `print(result.table())` shows the result.

        Args:
            data: COCO's JSON or YOLO's data.yaml, which are evaluated by their own metric; or a folder as `train` takes
                it, which is evaluated as a training does it.
            photos: their folder, for a file; by default it is looked for near the file.
            classes: evaluate only these; for the validation photos of a training, those that it was given.
            split: for a folder, the part of the photos: "val", those that a training sets aside, "train" or "all".
            seed: for a folder, that of the training, which chose its validation photos.
            metric: "coco", "voc07" or "voc10"; by default "coco" for a file, "voc07" for a folder.
            iou_thresholds: of the metric.
            limit: take only the first images.
            progress: show it on standard error.
            settings: `InputSettings` of the detector.

        Raises:
            InputError: the data set cannot be read, the detector has none of its classes, or a setting is wrong.
        """
        from detector.data.predictions import detection_table, failures, mean_seconds
        from detector.data.reading import Layout, find_photos, read_data_set, read_part
        from detector.evaluation import evaluate
        from detector.evaluation.prediction.predict import predict

        _check_names(settings, InputSettings)
        path, own, detector = Path(data), Path(data).is_dir(), self._with(settings)
        layout: Layout = "yolo" if path.suffix in (".yaml", ".yml") else "coco"
        if limit is not None and (not isinstance(limit, Integral) or limit < 1):
            raise InputError(f"limit is {limit!r}; give a whole number of images, at least 1")
        if own and photos is not None:
            raise InputError(f"{data}: is a folder, which holds its photos; leave photos out")
        if path.is_file() and (split, seed) != ("val", 0):
            raise InputError(f"{data}: split and seed choose photos of a folder; leave them out for a file")
        if own:
            read = read_part(path, split, classes=classes, seed=seed)
        else:
            root = None if photos is None else Path(photos)
            read = read_data_set(layout, annotations=path, root=root, classes=classes)
        read = read.known_to(self.class_names, str(self.path.name))
        read = read if limit is None else read.first(limit)
        folder = read.folder or find_photos(path, read.truth.files)
        predictions = predict(detector, read.truth, folder, progress=progress, batch=self._batch(detector))
        return evaluate(
            read.truth,
            detection_table(read.truth, predictions),
            metric or ("voc07" if own else "coco"),
            iou_thresholds,
            data=read.name,
            seconds_per_image=mean_seconds(predictions),
            failed=failures(predictions),
            notes=read.notes,
        )

    def explain(self, image: object, path: str | Path, *, channels: str | None = None) -> Path:
        """Writes one HTML page on how the detections of an image come about, stage by stage.

        Returns:
            The path.

        Raises:
            InputError: the image cannot be read, or the file cannot be written.
        """
        from detector.explorer import write_explanation

        write_explanation(self.pipeline, as_image(image, channels), Path(path))
        return Path(path)

    def train(
        self,
        data: str | Path,
        out: str | Path,
        *,
        layout: "Layout | None" = None,
        classes: str | Iterable[str] | None = None,
        skip_bad_labels: bool = False,
        epochs: int | None = None,
        minutes: float | None = None,
        lr: float | None = None,
        batch: int = 1,
        seed: int = 0,
        freeze: str | None = None,
        augment: "Augment" = "light",
        size: int | None = None,
        keep: bool = False,
        unlabeled: str | Path | None = None,
        labels: "Labels" = "boxes",
        cache: str | Path | None = None,
        resume: bool = False,
        on_step: Callable[[dict[str, float]], None] | None = None,
        log: Callable[[str], None] = print,
    ) -> "FitResult":
        """Trains on photos and labels of your own, from this model (extra `train`); then this detector is the trained
        one, with the engine "torch" in place of an .onnx file.

        Args:
            data: a folder of photos with VOC's XML, COCO's JSON or YOLO's text files, or the file that names them.
            out: folder for the model and everything else.
            layout: of the labels, "voc", "coco" or "yolo"; detected by default.
            classes: learn only these.
            skip_bad_labels: skip and count wrong labels; by default they are raised, all at once.
            epochs: passes over the photos; by default as many as the rule gives and time allows.
            minutes: time limit of everything; by default 25, and 3 s for each photo beyond 400.
            lr: highest learning rate; by default 0.00012, times the square root of the batch.
            batch: photos in a step.
            seed: of the split into training and validation photos, their order and the augmentation.
            freeze: part of the backbone up to which layers keep their weights, such as "inception_4e", or "backbone"
                for all of it; by default those before the inception modules.
            augment: "none"; "light": flips, color jitter and changes of scale; "strong": more of these, random crops,
                mosaic and mixup.
            size: short side of the network's input in pixels, in training and of the model; by default this model's.
            keep: find this model's classes too, which the photos need not show or have labels for.
            unlabeled: folder of photos to train on without labels too: those objects count that the model is sure of.
            labels: "boxes"; "image" for photos that are labeled by the classes that they show: in folders by class, in
                a CSV file with the columns image and class, or with boxes, which are then not used.
            cache: folder of cached proposals; by default `out / "proposals"`.
            resume: continue an interrupted training in `out`, if there is one.
            on_step: called after each step with "step", "loss", "lr" and so on, and after each evaluation with "step",
                "mAP" and so on.
            log: called with the lines of the summary and the plan.

        Returns:
            The result on the validation photos; `print(result)` shows it.

        Raises:
            InputError: the extra is missing, the data, a setting or `out` cannot be used, or the detector is no R-FCN
                or is assembled from several models.
            KeyboardInterrupt: on Ctrl-C or SIGTERM; the same call with `resume` continues.
        """
        if any(find_spec(name) is None for name in ("tensorboard", "sklearn")):
            raise InputError(needs_extra("training", "train"))
        from detector.training.custom_dataset import fit

        result = fit(
            data,
            out,
            layout=layout,
            classes=classes,
            skip_bad_labels=skip_bad_labels,
            epochs=epochs,
            minutes=minutes,
            lr=lr,
            batch=batch,
            seed=seed,
            freeze=freeze,
            augment=augment,
            size=size,
            keep=keep,
            unlabeled=None if unlabeled is None else str(unlabeled),
            labels=labels,
            init=self._model_file(),
            cache=cache,
            device=str(self.pipeline.device),
            resume=resume,
            on_step=on_step,
            log=log,
        )
        self.path, self._proposals = result.model, None
        if self._engine.endswith(".onnx"):  # a graph of the model before
            self._engine = "torch"
        self._load(self.pipeline.device, self._dtype)
        return result

    def export(
        self,
        path: str | Path,
        *,
        size: tuple[int, int] | None = None,
        int8: str | Path | None = None,
        end_to_end: bool = False,
        regions: bool = False,
    ) -> Path:
        """Writes the network as a graph for other programs, and checks the file by running it.

        Args:
            path: ends in .onnx (with the extra `onnx`), or .pt2 for torch.export.
            size: (width, height) of the one image that the graph takes; by default it takes any number of any size.
            int8: a folder or pattern of photos, on which the ranges for a graph in int8 are measured.
            end_to_end: take a photo and return its detections (`detector.export.end_to_end.export_end_to_end`).
            regions: an end-to-end graph takes the proposals as a second input, instead of MultiBox's.

        Returns:
            The path.

        Raises:
            InputError: the model is not an R-FCN or lacks the MultiBox head that it needs, the name or the size is
                wrong, or the file cannot be written.
        """
        from detector.export.checked import check_export, export_model
        from detector.inference.end_to_end import export_detector
        from detector.models.weights import load_model
        from detector.runner.sources import sample_photos

        check_export(Path(path), size, int8 is not None, end_to_end, regions)
        if end_to_end:
            export_detector(load_model(self._model_file()), Path(path), size, regions)
            return Path(path)
        photos = None if int8 is None else (photo.read() for photo in sample_photos(str(int8)))
        export_model(load_model(self._model_file()), Path(path), size, photos)
        return Path(path)

    def save(self, path: str | Path) -> Path:
        """Copies the model file to `path` (.safetensors), from which `load_detector` loads it.

        Returns:
            The path.

        Raises:
            InputError: the detector is assembled from several models, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: give a name that ends in .safetensors")
        try:
            with atomic_write(path) as temporary:
                shutil.copyfile(self._model_file(), temporary)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        return path

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Writes the model with a card to the Hugging Face Hub (extra `hub`); `load_detector(repository)` loads it.

        Args:
            repository: its id, such as "me/mine"; it is made if it does not exist.
            private: whether a new repository is private.

        Returns:
            The address of the repository.

        Raises:
            InputError: the detector is assembled from several models, the id is wrong, or the Hub refuses it or cannot
                be reached.
        """
        from detector.models.hub import upload

        return upload(self._model_file(), repository, private)

    def _model_file(self) -> Path:
        if self.path.suffix != ".safetensors":
            raise InputError(f"{self.path}: a configuration of several models; load one of its models for this")
        return self.path


def _check_names(settings: Mapping[str, Any], known: type) -> None:
    for name in settings:
        if name not in known.__annotations__:
            raise InputError(unknown_name("setting", name, known.__annotations__))
