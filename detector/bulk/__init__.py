"""Detection over more photos than one process, or one machine, can do: Ray Data moves them from stage to stage.

read -> propose -> batches to the network -> shards of JSON lines. `pip install "inception-rcnn[ray]"` brings Ray.
"""

from detector.bulk.pipeline import Cluster, detect_many
from detector.bulk.shards import Outcome
from detector.bulk.stages import DetectorSettings

__all__ = ["Cluster", "DetectorSettings", "Outcome", "detect_many"]
