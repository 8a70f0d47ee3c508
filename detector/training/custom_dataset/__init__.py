"""Training on a user's own photos and classes: `fit` looks at the data, plans, trains and judges."""

from detector.training.custom_dataset.fitting import Fitted, fit
from detector.training.custom_dataset.plan import Machine, TrainingPlan, make_plan
from detector.training.custom_dataset.split import Split, split_data
from detector.training.custom_dataset.survey import Survey, survey_data

__all__ = ["Fitted", "Machine", "Split", "Survey", "TrainingPlan", "fit", "make_plan", "split_data", "survey_data"]
