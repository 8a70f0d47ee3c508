"""Average precision by the rules of VOC, COCO and ILSVRC, with intervals."""
