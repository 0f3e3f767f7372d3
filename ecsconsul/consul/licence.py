"""The licence that each version of Consul comes under."""

from __future__ import annotations

import re
from typing import NamedTuple


class Licence(NamedTuple):
    """A licence's SPDX name (https://spdx.org/licenses/), and where to read it."""

    name: str
    url: str

    def __str__(self) -> str:
        return f"{self.name}: {self.url}"


MPL = Licence("MPL-2.0", "https://www.mozilla.org/MPL/2.0/")
# free for everything but selling a product that competes with the vendor's; becomes MPL four years after a release
BUSL = Licence("BUSL-1.1", "https://www.hashicorp.com/bsl")
ENTERPRISE = Licence("commercial", "https://www.hashicorp.com/products/consul")
FIRST_UNDER_BUSL = (1, 17)


def licence_of(version: str) -> Licence:
    """The licence of a version like 1.17.0, 1.8.7+dfsg1 or 1.16.0+ent."""
    if "+ent" in version:
        return ENTERPRISE
    numbers = re.match(r"(\d+)\.(\d+)", version)
    first = numbers is not None and (int(numbers[1]), int(numbers[2])) < FIRST_UNDER_BUSL
    return MPL if first else BUSL


def named(version: str) -> str:
    """The version with its licence, as it's said to users: Consul 1.16.6 (MPL-2.0: https://...)."""
    return f"Consul {version} ({licence_of(version)})"
