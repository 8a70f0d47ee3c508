"""The Python interface: what most programs need. No other room imports this module."""

from detector.inference.assembly import load_detector
from detector.inference.detector import Detector

__all__ = ["Detector", "load_detector"]
