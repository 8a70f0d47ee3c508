"""The report of an evaluation: one HTML file that needs no network, and a sheet of photos."""

from detector.evaluation.report.page import explain, render_report

__all__ = ["explain", "render_report"]
