"""`python -m benchmarks [NAME ...]`: runs the benchmarks, and compares each figure with its limit and the last run.

Exits with 1 if a figure misses its limit.
"""

from __future__ import annotations

import compileall
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import ecsconsul
from benchmarks.measure import Result

NAMES = (
    "commands",
    "many_services",
    "status_of_many",
    "discovery",
    "registrator",
    "cold_up",
    "rollback",
    "critical_path",
)
HEAD = ("figure", "ours", "baseline", "", "ratio", "limit", "", "change", "samples")
WIDTHS = (24, 9, 9, 44, 7, 8, 6, 7)
LAST = Path(__file__).parents[1] / ".bench" / "last.json"


def main(names: list[str]) -> int:
    """Runs the benchmarks one after the other with a state folder of their own, and returns the exit code."""
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}", file=sys.stderr)  # noqa: T201
        return 2
    # like `make up`, even if PYTHONDONTWRITEBYTECODE is set
    compileall.compile_dir(Path(ecsconsul.__file__).parent, quiet=2)
    last = _read_last()
    with tempfile.TemporaryDirectory(prefix="ecsconsul-bench-") as folder:
        os.environ["ECSCONSUL_HOME"] = str(Path(folder, "home"))
        _print_row(HEAD)
        results = [result for name in NAMES if name in (names or NAMES) for result in _run(name, Path(folder), last)]
    _write_last({**last, **{result.name: result.figure for result in results}})
    return 0 if all(result.holds for result in results) else 1


def _run(name: str, folder: Path, last: Mapping[str, float]) -> list[Result]:
    results = []
    for result in importlib.import_module(f".{name}", __package__).measure(folder):
        _print_row(_cells(result, last.get(result.name)))
        results.append(result)
    return results


def _read_last() -> dict[str, float]:
    """The figures of the last run by name; empty before the first one."""
    return dict(json.loads(LAST.read_text())) if LAST.exists() else {}


def _write_last(figures: Mapping[str, float]) -> None:
    LAST.parent.mkdir(exist_ok=True)
    LAST.write_text(json.dumps(figures, indent=2) + "\n")


def _cells(result: Result, last: float | None) -> tuple[str, ...]:
    unit = "MiB" if result.unit == "MiB" else "s"
    limit = f"{result.limit:g} {'x' if result.unit == 'times' else unit}"
    verdict = "holds" if result.holds else "MISSES"
    digits = 1 if unit == "MiB" else 3
    ours, peer = f"{result.ours:.{digits}f} {unit}", f"{result.peer:.{digits}f} {unit}"
    change = f"{result.figure / last - 1:+.0%}" if last else "new"
    return result.name, ours, peer, result.peer_name, f"{result.ratio:.2f} x", limit, verdict, change, result.remark


def _print_row(cells: tuple[str, ...]) -> None:
    padded = [cell.ljust(width) for cell, width in zip(cells, (*WIDTHS, 0), strict=False)]
    print("  ".join(padded).rstrip(), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
