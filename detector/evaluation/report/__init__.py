"""The why-report: a diagnosis as one HTML file that needs no network. See `write_report`."""

from detector.evaluation.report.page import About, render_report, write_report

__all__ = ["About", "render_report", "write_report"]
