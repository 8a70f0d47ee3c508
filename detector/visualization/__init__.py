"""Boxes and labels drawn on pixels. Takes arrays and knows nothing of the other rooms."""
