"""Makes botocore decode its service models, megabytes of JSON, with msgspec: a fifth of the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def decode_models_quickly() -> None:
    """Set the decoder for every client of this process."""
    import msgspec
    from botocore import loaders

    class QuickFileLoader(loaders.JSONFileLoader):  # type: ignore[misc]
        def _load_file(self, full_path: str, open_method: Callable[[str, str], Any]) -> Any:
            try:
                with open_method(full_path, "rb") as file:
                    return msgspec.json.decode(file.read())
            except FileNotFoundError:
                return None

    loaders.Loader.FILE_LOADER_CLASS = QuickFileLoader
