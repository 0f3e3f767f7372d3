"""What an image was built from: a hash of each file, kept with the image, so that a later source can be compared.

The image's tag is a hash of the whole source, which can't say which file differs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from .build_context import HASH_LENGTH, content_of, files, unreadable

# on an image that an engine has built
FILES_LABEL = "ecsconsul.files"
# The engine repeats an image's labels with each of its containers, so the label stays small: some 600 files.
LABEL_LENGTH = 16_384
# against a label that isn't ours and unpacks to something huge
_TEXT_LENGTH = 4_000_000

# by `files/PATH` or `build-args/NAME`: a file's hash, an argument's value
SourceFiles = dict[str, str]


def source_files(folder: Path, build_args: Mapping[str, str] | None = None) -> SourceFiles:
    """The files that a source hash covers, each with the first 12 hex digits of its SHA-256. Raises LabError."""
    found = {f"build-args/{name}": value for name, value in (build_args or {}).items()}
    try:
        for path in files(folder):
            found[f"files/{os.fsdecode(path.relative_to(folder))}"] = _described(*content_of(path))
    except OSError as error:
        raise unreadable(error) from error
    return found


def _described(kind: str, content: bytes) -> str:
    if kind == "link":
        return f"link to {os.fsdecode(content)}"
    digest = hashlib.sha256(content).hexdigest()[:HASH_LENGTH]
    return f"{digest} executable" if kind == "1" else digest


def files_label(found: SourceFiles) -> dict[str, str]:
    """The label with these files; none if there are too many of them."""
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return {FILES_LABEL: packed} if len(packed) <= LABEL_LENGTH else {}


def read_label(labels: Mapping[str, str] | None) -> SourceFiles | None:
    """The files in an image's labels; None if it has none that can be read."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode((labels or {})[FILES_LABEL], validate=True), _TEXT_LENGTH)
        found = json.loads(text)
    except (KeyError, ValueError, binascii.Error, zlib.error):
        return None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else None
