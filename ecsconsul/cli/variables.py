"""Environment variables on the command line: NAME=VALUE."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import WrongUsage


def variables_of(given: Iterable[str], *, inherit: bool = False) -> dict[str, str]:
    """The variables by name, the last value of each. Raises WrongUsage, which repeats no value: it may be a secret.

    With `inherit`, NAME alone is for the value that this command's own environment has.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not _is_name(name) or not (equals or inherit):
            why = "a name has letters, digits, _ . and -, and doesn't start with a digit"
            raise WrongUsage("A variable must be NAME=VALUE", where="--env", why=why, hint="--env LOG_LEVEL=debug")
        if not equals and name not in os.environ:
            raise WrongUsage(f"This shell has no variable {name}", hint=f"--env {name}=VALUE, or export it first")
        found[name] = value if equals else os.environ[name]
    return found


def _is_name(name: str) -> bool:
    import msgspec

    from ..config.scalars import EnvName

    try:
        msgspec.convert(name, EnvName)
    except msgspec.ValidationError:
        return False
    return True
