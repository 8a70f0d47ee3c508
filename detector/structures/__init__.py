"""The typed objects that stages pass on: images, RoIs, region scores, detections."""
