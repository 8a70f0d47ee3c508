"""Runs detectors, classifiers and proposal methods over data sets."""
