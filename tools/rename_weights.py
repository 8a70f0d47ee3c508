"""Rewrites model files written under the names before the rooms: rename_weights.py FILE..."""

import json, re, sys
from safetensors import safe_open
from safetensors.torch import save

KEYS = {"rate": "lr", "head_rate": "head_lr_mult", "colour_spaces": "color_spaces"}
VALUES = {"centre_size": "center_size"}


def plain(x):
    if isinstance(x, dict):
        return {KEYS.get(k, k): plain(v) for k, v in x.items()}
    if isinstance(x, list):
        return [plain(v) for v in x]
    return VALUES.get(x, x) if isinstance(x, str) else x


for path in sys.argv[1:]:
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {n: file.get_tensor(n).clone() for n in file.keys()}
    if "facts" in header:
        header["metadata"] = header.pop("facts")
    if "others" in header:
        header["extra_background_classes"] = header.pop("others")
    header["config"] = json.dumps(plain(json.loads(header["config"])))
    tensors = {re.sub(r"^maps\.", "score_conv.", re.sub(r"^trunk\.", "backbone.", n)): t for n, t in tensors.items()}
    data = save(tensors, header)
    open(path, "wb").write(data)
    print(path, header["config"])
