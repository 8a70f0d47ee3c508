"""Operations on boxes, maps and pixels: NMS, box voting, position-sensitive RoI pooling, crops, devices."""
