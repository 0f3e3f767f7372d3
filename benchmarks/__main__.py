"""`python -m benchmarks [NAME ...]`: runs all benchmarks, or those named, and exits 1 when one misses its limit."""

from __future__ import annotations

import compileall
import importlib
import os
import sys
import tempfile
from pathlib import Path

import ecsconsul
from benchmarks.measure import Result

NAMES = ("commands", "status_of_many", "discovery", "registrator", "cold_up", "critical_path")
HEAD = ("measure", "ours", "beside", "", "ratio", "limit", "")
WIDTHS = (24, 9, 9, 44, 7, 8, 6)


def main(names: list[str]) -> int:
    """Run them one after the other, in a home of their own; the exit code."""
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)  # noqa: T201
        return 2
    # as `make up` leaves the package, also where PYTHONDONTWRITEBYTECODE is set
    compileall.compile_dir(Path(ecsconsul.__file__).parent, quiet=2)
    with tempfile.TemporaryDirectory(prefix="ecsconsul-bench-") as folder:
        os.environ["ECSCONSUL_HOME"] = str(Path(folder, "home"))
        _show(HEAD)
        results = [result for name in NAMES if name in (names or NAMES) for result in _run(name, Path(folder))]
    return 0 if all(result.holds for result in results) else 1


def _run(name: str, folder: Path) -> list[Result]:
    results = []
    for result in importlib.import_module(f".{name}", __package__).measure(folder):
        _show(_cells(result))
        results.append(result)
    return results


def _cells(result: Result) -> tuple[str, ...]:
    unit = "MiB" if result.unit == "MiB" else "s"
    limit = f"{result.limit:g} {'x' if result.unit == 'times' else unit}"
    verdict = "holds" if result.holds else "MISSES"
    digits = 1 if unit == "MiB" else 3
    ours, peer = f"{result.ours:.{digits}f} {unit}", f"{result.peer:.{digits}f} {unit}"
    return result.name, ours, peer, result.peer_name, f"{result.ratio:.2f} x", limit, verdict, result.remark


def _show(cells: tuple[str, ...]) -> None:
    padded = [cell.ljust(width) for cell, width in zip(cells, (*WIDTHS, 0), strict=False)]
    print("  ".join(padded).rstrip(), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
