"""From an image to detections: proposals, scoring, post-processing, batches, engines."""
