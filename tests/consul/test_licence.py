from __future__ import annotations

import pytest

from ecsconsul.consul.licence import BUSL, ENTERPRISE, MPL, Licence, licence_of, named


@pytest.mark.parametrize(
    ("version", "licence"),
    [
        ("1.8.0", MPL),
        ("1.8.7+dfsg1", MPL),
        ("1.16.0", MPL),
        ("1.16.6", MPL),
        ("1.17.0", BUSL),
        ("1.17.0-dev", BUSL),
        ("1.22.7", BUSL),
        ("2.0.1", BUSL),
        ("1.16.6+ent", ENTERPRISE),
        ("1.22.9+ent.fips1402", ENTERPRISE),
        ("unknown", BUSL),
    ],
)
def test_licence_follows_the_version(version: str, licence: Licence) -> None:
    assert licence_of(version) == licence


def test_version_is_named_with_its_licence() -> None:
    assert named("1.22.7") == "Consul 1.22.7 (BUSL-1.1: https://www.hashicorp.com/bsl)"
    assert named("1.16.6") == "Consul 1.16.6 (MPL-2.0: https://www.mozilla.org/MPL/2.0/)"
