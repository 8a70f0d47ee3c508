"""The typed objects that the stages hand on: images, RoIs, scores of regions, detections."""
