"""`detector convert`: classification weights from one format to another."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import LabelsOption
from detector.errors import InputError
from detector.runner.writers import check_writable_file


def convert(
    source: Annotated[Path, typer.Argument(help="Weights: .caffemodel, .npz, .safetensors, or torchvision/googlenet.")],
    target: Annotated[Path, typer.Argument(help="File to write: .safetensors or .npz.")],
    labels: LabelsOption = None,
) -> None:
    """Convert classification weights. A .safetensors also holds the class names; an .npz uses Caffe's layer names.

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
            raise InputError(f"{source}: Caffe's layout has names for a GoogLeNet only; give a .safetensors")
        try:
            save_caffe_arrays(model.network, target)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
    Console().result(f"{target}: {len(model.class_names)} classes, {target.stat().st_size / 1e6:.1f} MB")
