"""Checks whether the region that a lab's directory describes can be used."""

from __future__ import annotations

from ...region.runtimes.lab_dir import LabDir, RegionInfo

PING_TIMEOUT = 5.0


def why_useless(info: RegionInfo, runtime: str | None) -> str:
    """Why a region that is alive can't be used; empty when it can. Without a `runtime`, any will do."""
    from ... import __version__

    if info.version != __version__:
        return f"its region was started by version {info.version or 'unknown'}; this is {__version__}"
    if not info.runs(runtime):
        return f"its tasks run with the runtime {info.runtime}, and {runtime} is requested"
    return why_silent(info)


def why_silent(info: RegionInfo) -> str:
    """Why the region does not answer; empty when it does."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    from ...region.ping import PING_PATH

    connection = HTTPConnection(urlsplit(info.endpoint).netloc, timeout=PING_TIMEOUT)
    try:
        connection.request("GET", PING_PATH)
        connection.getresponse().read()
    except (OSError, HTTPException) as error:
        return f"its region (process {info.pid}) does not answer: {error}"
    finally:
        connection.close()
    return ""


def why_closed(info: RegionInfo, lab_dir: LabDir) -> str:
    """Why nobody can get into a region that runs; empty when its secrets are at hand."""
    key = lab_dir.access_key()
    if key is None:
        return "it has no access key"
    if info.key_id not in ("", key.id):
        return "its access key is not the one that its region was started with"
    return "" if lab_dir.has_consul_secrets() else "the secrets of its Consul are missing or damaged"
