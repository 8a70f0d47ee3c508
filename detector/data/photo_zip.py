"""Photos out of a zip, one at a time, without extracting anything and without trust in the archive."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from detector.data.archives import check_member_name, regular_files
from detector.errors import InputError

#: Largest photo that is read out of a zip, in bytes: more than 150 megapixels have in any common format.
LARGEST_PHOTO = 2**29

_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


class PhotoZip:
    """A zip whose photos are read one by one. The file is opened at the first, and stays open.

    Args:
        path: the zip.
        wanted: whether a member is a photo, by its name.

    Raises:
        InputError: the zip cannot be read or is damaged, or holds a member outside its own root or a link, which is
            reason enough to leave all of it alone.
    """

    def __init__(self, path: Path, wanted: Callable[[str], bool]) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        names: list[str] = []
        try:
            with zipfile.ZipFile(path) as archive:
                for info in regular_files(archive):
                    check_member_name(info.orig_filename)
                    names.append(info.filename)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except _FAULTS as error:
            raise InputError(f"{path}: is no zip, or is damaged ({error}); get it anew") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{path}: member {twice} is there twice; pack it anew")
        self.names = tuple(name for name in names if wanted(name))

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises:
            InputError: it is larger than `LARGEST_PHOTO`, encrypted or damaged; the message names zip and member.
        """
        try:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self.path)
            with self._archive.open(name) as file:
                content = file.read(LARGEST_PHOTO + 1)  # the size in the header may be a lie
        except _FAULTS as error:
            raise InputError(f"{self.path}/{name}: is damaged or encrypted ({error}); pack it anew") from None
        except (OSError, KeyError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.path}/{name}: cannot be read ({reason})") from None
        if len(content) > LARGEST_PHOTO:
            raise InputError(f"{self.path}/{name}: has more than {LARGEST_PHOTO // 2**20} MiB; make it smaller")
        return content
