"""A long evaluation: results on the disk as they come, resumed after a kill, shared by the processes of torchrun."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detector.data.ground_truth import GroundTruth
from detector.data.predictions import LOWEST_SCORE, Prediction, from_entry, write_predictions
from detector.errors import InputError
from detector.evaluation.predicting import ImageDetector, predict
from detector.storage.run_store import ResultStore, parts_of


def run_detector(
    detector: ImageDetector,
    truth: GroundTruth,
    folder: Path,
    save: Path | None = None,
    *,
    made_by: Mapping[str, Any] | None = None,
    keep_parts: bool = False,
    score: float = LOWEST_SCORE,
    trace: bool = False,
    progress: bool = False,
    batch: int = 1,
    workers: int = 1,
) -> list[Prediction] | None:
    """`predictions.predict` over a data set, which can be stopped at any time and goes on when it is called again.

    Each of the processes that torchrun started takes its share of the images; all of them have to call this.

    Args:
        save: file for the detections (`write_predictions`). Until all images are done they are kept in parts beside
            it, see `store.ResultStore`. None: nothing is kept, and a stopped run starts anew.
        made_by: what the results depend on besides the data: parts that something else has made are refused.
        keep_parts: leave the parts to `remove_parts`, for after what is made of the detections is written too.
        score, trace, progress, batch, workers: as for `predict`.

    Returns:
        The predictions in the order of the data set; None in all processes but the first.

    Raises:
        InputError: there are several processes and no `save`, parts are of another evaluation, or what `predict`
            refuses.
    """
    process, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if save is None:
        if processes > 1:
            raise InputError("several processes need a file for their detections: give --save-detections FILE")
        return predict(
            detector, truth, folder, score=score, trace=trace, progress=progress, batch=batch, workers=workers
        )
    described = {**(made_by or {}), "data": _digest(truth), "score": score}
    with ResultStore(save, described, process) as store:
        own = predict(
            detector,
            truth,
            folder,
            score=score,
            trace=trace,
            store=store,
            share=(process, processes),
            progress=progress and process == 0,
            batch=batch,
            workers=workers,
        )
        if processes == 1:
            predictions = own
        else:
            from detector.ops.distributed import process_group, wait_for_all  # torch

            with process_group("cpu"):
                wait_for_all()
                entries = store.gather() if process == 0 else {}
                wait_for_all()  # the first has read the parts before any process deletes or changes one
            if process > 0:
                return None
            predictions = [
                from_entry(entries[str(image_id)], image_id, detector.class_names, detector.class_ids)
                for image_id in truth.image_ids
            ]
        write_predictions(save, predictions, truth)
    if not keep_parts:
        remove_parts(save)
    return predictions


def remove_parts(save: Path) -> None:
    """Deletes the parts beside a file of detections."""
    for part in parts_of(save):
        part.unlink(missing_ok=True)


def _digest(truth: GroundTruth) -> str:
    content = json.dumps([truth.image_ids, truth.files, truth.class_names]).encode()
    columns = (truth.images, truth.labels, truth.boxes, truth.difficult, truth.crowd)
    objects = b"".join(one.tobytes() for one in columns)
    return hashlib.blake2b(content + objects, digest_size=16).hexdigest()
