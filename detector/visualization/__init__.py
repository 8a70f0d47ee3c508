"""Boxes and labels drawn on arrays of pixels."""
