"""Training on a custom data set: `fit` reads the user's photos and classes, plans, trains and evaluates."""

from detector.training.custom_dataset.finetuning import fit
from detector.training.custom_dataset.result import FitResult

__all__ = ["FitResult", "fit"]
