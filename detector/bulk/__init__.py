"""Detection in more photos than one process, or one machine, can handle (`detector.bulk.pipeline.detect_many`).

Ray Data moves the photos from stage to stage: read, propose, batches to the network, shards of JSON lines. Needs the
extra `ray`.
"""
