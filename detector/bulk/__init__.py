"""Detection over more photos than one process, or one machine, can do (`detector.bulk.pipeline.detect_many`).

read -> propose -> batches to the network -> shards of JSON lines; Ray Data moves the photos from stage to stage.
It needs the extra `ray`.
"""
