"""Runs the region of a lab: `python -m ecsconsul.region`, started by the local target.

Reads a RegionSpec as JSON from standard input and the lab's access key from the lab directory, writes where it listens
into that directory and a line to standard output when it is ready. Exits on SIGTERM, and leaves nothing but logs.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import IO

import msgspec

from .region import Region
from .runtimes import lab_processes
from .runtimes.lab_dir import LabDir, RegionSpec

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 2.0


def main() -> int:
    """Run the region, and clean up before and after it; the exit code."""
    # What the region and its processes write is nobody else's business.
    os.umask(0o077)
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=RegionSpec)
    lab_dir = LabDir(spec.lab)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    key = lab_dir.access_key()
    if key is None:
        log.error("the lab has no access key")
        return 1
    try:
        lock = _lock(lab_dir)
    except BlockingIOError:
        log.warning("another region of this lab is running")
        return 1
    with lock:
        lab_processes.kill_leftovers(lab_dir.root)
        lab_dir.clear_leftovers()
        lab_dir.rotate_logs()
        Region(spec, lab_dir, key).run(sys.stdout)
        lab_processes.kill_leftovers(lab_dir.root)
        lab_dir.clear_leftovers()
    return 0


def _lock(lab_dir: LabDir) -> IO[str]:
    """The lab's lock; a reader may hold it for a moment. Raises BlockingIOError."""
    end = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return lab_dir.lock_region()
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
