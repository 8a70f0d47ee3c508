"""Training on a custom data set: `fit` reads the user's photos and classes, plans, trains and evaluates."""

from detector.training.custom_dataset.finetuning import FitResult, fit

__all__ = ["FitResult", "fit"]
