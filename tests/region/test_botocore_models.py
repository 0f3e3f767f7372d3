"""botocore loads the same service models with our JSON decoder as with its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import botocore
import pytest
from botocore import loaders

from ecsconsul.region.botocore_models import decode_models_quickly

DATA = Path(botocore.__file__).parent / "data"


@pytest.fixture
def quick() -> Iterator[loaders.JSONFileLoader]:
    own = loaders.Loader.FILE_LOADER_CLASS
    decode_models_quickly()
    yield loaders.Loader().file_loader
    loaders.Loader.FILE_LOADER_CLASS = own


@pytest.mark.parametrize("name", ["endpoints", "ecs/2014-11-13/service-2", "ec2/2016-11-15/paginators-1"])
def test_models_are_equal(quick: loaders.JSONFileLoader, name: str) -> None:
    own = loaders.JSONFileLoader()
    assert type(quick) is not type(own)
    model = quick.load_file(str(DATA / name))
    assert model
    assert model == own.load_file(str(DATA / name))


def test_missing_model_is_none(quick: loaders.JSONFileLoader) -> None:
    assert quick.load_file(str(DATA / "no-such-model")) is None
