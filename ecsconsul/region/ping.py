"""Where a region says that it is alive. Whoever asks needs nothing else of the region's."""

from __future__ import annotations

# Answered without a signature and without a lock, so that a busy region still counts as alive.
PING_PATH = "/_ecsconsul/ping"
