"""What a `pip install` in a Dockerfile asks for, as far as that is certain. Pure.

https://pip.pypa.io/en/stable/cli/pip_install/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# what builds or installs other packages is needed in an image alone
TOOLS = frozenset({"pip", "setuptools", "wheel", "build", "virtualenv", "poetry", "pipenv", "pdm", "hatch"})
# where pip is told to install to; what is copied from there is in the environment anyway
PLACES = frozenset({"--prefix", "--target", "-t", "--root", "-w", "--wheel-dir"})
_FILES = frozenset({"-r", "--requirement"})
_EDITABLE = frozenset({"-e", "--editable"})
_FLAGS = frozenset(
    {
        "-U", "--upgrade", "-q", "-qq", "--quiet", "-v", "--verbose", "--user", "--no-cache-dir", "--no-cache", "--pre",
        "--no-compile", "--system", "--break-system-packages", "--force-reinstall", "-I", "--ignore-installed",
        "--disable-pip-version-check", "--no-input", "--no-warn-script-location", "--prefer-binary",
    }
)  # fmt: skip
_VALUES = frozenset({"--cache-dir", "--timeout", "--retries", "--progress-bar", "--root-user-action"})


@dataclass(frozen=True)
class PipInstall:
    """`files` of requirements, `packages` by name, and folders of `projects`, perhaps with extras; `places` as given.

    `complete`: whether this is all that is asked for.
    """

    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    complete: bool = True


def read_pip(words: Sequence[str]) -> PipInstall:
    """The words after `pip install` or `pip wheel`. Files are always found, names only if all options are known."""
    found: dict[str, list[str]] = {"files": [], "packages": [], "projects": [], "places": []}
    unknown, left = False, list(words)
    while left:
        name, has_value, value = left.pop(0).partition("=") if left[0].startswith("-") else (left.pop(0), "", "")
        if name.startswith("-r") and name not in _FILES and len(name) > 2:
            name, has_value, value = "-r", "=", name[2:]
        kind = _kind(name)
        if kind in ("files", "places", "editable", "value") and not has_value:
            value = left.pop(0) if left else ""
        if kind in ("files", "places"):
            found[kind].append(value)
        elif kind in ("", "editable"):
            word = value or name
            target = _target(word)
            unknown |= not target
            if target and _base(word) not in TOOLS:
                found[target].append(word)
        unknown |= kind == "-unknown"
    files, places = tuple(found["files"]), tuple(found["places"])
    if unknown:
        # a name could be an unknown option's value, and another index may have another package
        return PipInstall(files, places=places, complete=False)
    return PipInstall(files, tuple(found["packages"]), tuple(found["projects"]), places)


def _kind(name: str) -> str:
    """What a word is: "files", "places", "editable", "value", "-flag", "-unknown", or "" for a thing to install."""
    if not name.startswith("-"):
        return ""
    for kind, names in (("files", _FILES), ("places", PLACES), ("editable", _EDITABLE), ("value", _VALUES)):
        if name in names:
            return kind
    return "-flag" if name in _FLAGS else "-unknown"


def _target(word: str) -> str:
    """Whether a word names a project's folder or a package; "" if neither is certain."""
    from packaging.requirements import InvalidRequirement, Requirement

    if re.fullmatch(r"(\.|\.?\.?/[^\[\]$]*)(\[[\w, -]*\])?", word) and not word.endswith((".whl", ".gz", ".zip")):
        return "projects"
    try:
        return "" if Requirement(word).url else "packages"
    except InvalidRequirement:
        return ""


def _base(word: str) -> str:
    return re.split(r"[^\w.-]", word, maxsplit=1)[0].lower()
