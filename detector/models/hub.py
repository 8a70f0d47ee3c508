"""Models on the Hugging Face Hub: a repository with `model.safetensors` and its card, by an id such as "me/mine".

Tokens, the cache and the address are huggingface_hub's own: `hf auth login`, HF_TOKEN, HF_HOME, HF_ENDPOINT.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from safetensors import safe_open

from detector.errors import InputError
from detector.models.header import DETECTION, Header
from proposals.extras import needs_extra

MODEL_FILE = "model.safetensors"
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_FILES = (".safetensors", ".yaml", ".yml", ".npz", ".caffemodel", ".onnx", ".pt2")

_CARD = """\
---
library_name: inception-rcnn
pipeline_tag: object-detection
tags: [object-detection, r-fcn, googlenet]
---

# {name}

Finds {classes}.{result}

```python
from detector import load_detector

for found in load_detector("{id}")("photo.jpg"):
    print(found.label, found.score, found.box)
```

or `detector detect photo.jpg --model {id}`.
"""


def is_hub_id(path: Path) -> bool:
    """Whether a path that does not exist reads as owner/name."""
    return _ID.fullmatch(path.as_posix()) is not None and path.suffix not in _FILES


def download(repository: str) -> Path:
    """The model file of a repository; without a network, huggingface_hub's copy of an earlier download.

    Raises:
        InputError: the extra `hub` is missing, there is no such repository, or it cannot be reached.
    """
    _check_extra(f"{repository}: no such file; loading it from the Hub")
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        try:
            get_hf_file_metadata(hf_hub_url(repository, MODEL_FILE))
            offline = False
        except HfHubHTTPError:
            raise
        except Exception:  # no network, for which a download would wait half a minute
            offline = True
        return Path(hf_hub_download(repository, MODEL_FILE, local_files_only=offline))
    except Exception as error:  # of the Hub, its client, or the network
        raise InputError(f"{repository}: no such file, and not loaded from the Hub: {_reason(error)}") from None


def upload(model: Path, repository: str, private: bool = False) -> str:
    """Writes a model file to a repository, which is made if it does not exist, with a card if it has none.

    Returns:
        The address of the repository.

    Raises:
        InputError: the id is wrong, the extra `hub` is missing, or the Hub refuses it or cannot be reached.
    """
    if not is_hub_id(Path(repository)):
        raise InputError(f"{repository}: is not the id of a model on the Hub; give owner/name")
    _check_extra("writing to the Hub")
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    files = {MODEL_FILE: model.read_bytes(), "README.md": model_card(model, repository).encode()}
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        if api.file_exists(repository, "README.md"):
            del files["README.md"]  # people write their own
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repository, operations, commit_message=f"Add {' and '.join(files)}")
    except Exception as error:  # of the Hub, its client, or the network
        raise InputError(f"{repository}: not written to the Hub: {_reason(error)}") from None
    return str(address)


def model_card(model: Path, repository: str) -> str:
    """The card of a model, from the header of its file."""
    with safe_open(model, framework="numpy") as file:
        header = Header.from_text(file.metadata() or {}, model, DETECTION)
    metadata = header.metadata
    result = ""
    if "mAP" in metadata:
        images = f" on {metadata['images']} validation images" if "images" in metadata else ""
        result = f" It has {100 * metadata['mAP']:.1f} mAP ({metadata.get('metric', 'VOC07')}){images}."
    return _CARD.format(name=repository.split("/")[1], id=repository, classes=", ".join(header.classes), result=result)


def _check_extra(what: str) -> None:
    if find_spec("huggingface_hub") is None:
        raise InputError(needs_extra(what, "hub"))


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import EntryNotFoundError, RemoteEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return "no such repository, or it is private and the token does not open it"
    if isinstance(error, RemoteEntryNotFoundError):
        return f"its repository holds no {MODEL_FILE}"
    if isinstance(error, EntryNotFoundError):
        return "it cannot be reached, and there is no copy of an earlier download"
    return " ".join(str(error).split()) or type(error).__name__
