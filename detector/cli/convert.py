"""`detector convert`: classification weights from one format to another."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.runner.writers import check_writable_file


def convert(
    source: Annotated[Path, typer.Argument(help="Weights: .caffemodel, .npz, .safetensors, or torchvision/googlenet.")],
    target: Annotated[Path, typer.Argument(help="File to write: .safetensors or .npz.")],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Class names, one a line.", show_default="synset_words.txt beside SOURCE"),
    ] = None,
) -> None:
    """Convert classification weights; .safetensors also holds the class names, .npz is named by Caffe's layers.

    Example:

        detector convert bvlc_googlenet.caffemodel googlenet.safetensors --labels synset_words.txt
    """
    if target.suffix not in (".safetensors", ".npz"):
        raise InputError(f"{target}: give a name that ends in .safetensors or .npz")
    check_writable_file(target, "TARGET")
    from detector.inference.classification import load_classification_model
    from detector.models.caffe import save_caffe_arrays
    from detector.models.classifier import ImageClassifier
    from detector.models.googlenet import GoogLeNetBackbone
    from detector.models.weights import save_model

    model = load_classification_model(source, labels)
    if target.suffix == ".safetensors":
        save_model(model, target)
    else:
        assert isinstance(model.network, ImageClassifier)
        if not isinstance(model.network.backbone, GoogLeNetBackbone):
            raise InputError(f"{source}: is no GoogLeNet and has no names in Caffe's layout; give a .safetensors")
        save_caffe_arrays(model.network, target)
    Console().result(f"{target}: {len(model.class_names)} classes, {target.stat().st_size / 1e6:.1f} MB")
