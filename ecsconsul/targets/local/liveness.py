"""Whether the region that a lab's folder tells of can be worked with."""

from __future__ import annotations

from ...region.runtimes.lab_dir import RegionInfo

PING_TIMEOUT = 5.0


def why_useless(facts: RegionInfo, runtime: str | None) -> str:
    """Why a region that holds its lock cannot be worked with; empty when it can. With no `runtime` any will do."""
    from ... import __version__

    if facts.version != __version__:
        return f"its region was started by version {facts.version or 'unknown'}; this is {__version__}"
    if not facts.runs(runtime):
        return f"its tasks run with the runtime {facts.runtime}, and {runtime} is wanted"
    return why_silent(facts)


def why_silent(facts: RegionInfo) -> str:
    """Why nothing is heard of the region; empty when it answers."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    from ...region.aws_api import PING_PATH

    connection = HTTPConnection(urlsplit(facts.endpoint).netloc, timeout=PING_TIMEOUT)
    try:
        connection.request("GET", PING_PATH)
        connection.getresponse().read()
    except (OSError, HTTPException) as error:
        return f"its region (process {facts.pid}) does not answer: {error}"
    finally:
        connection.close()
    return ""
