"""Data sets of images with annotated objects."""

from detector.data.annotations import Annotations, Sample
from detector.data.voc import VOC_CLASSES, VOCDataset

__all__ = ["VOC_CLASSES", "Annotations", "Sample", "VOCDataset"]
