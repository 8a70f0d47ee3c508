"""A resumable run over photos and videos: sources, video, detection, writers."""
