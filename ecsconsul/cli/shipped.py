"""What `deploy`, `rollback` and `history` say for humans."""

from __future__ import annotations

from typing import Any

from rich.text import Text

Json = dict[str, Any]


def deployed(document: Json) -> Text:
    """What `deploy` has done."""
    service, revision = document["service"], document["revision"]
    if not (document["changes"]["created"] or document["changes"]["updated"]):
        return _sentence(service, f"already runs revision {revision}", document)
    return _sentence(service, f"{_verb(document)} revision {revision}", document)


def after_deploy(document: Json) -> str:
    """What the config says of it: it wins, at the next `up`."""
    if not document["differs"]:
        return ""
    names = ", ".join(document["differs"])
    return (
        f"The config is unchanged, and it wins: the next `ecsconsul up` takes back {names};"
        " `ecsconsul plan` shows the difference."
    )


def rolled_back(document: Json) -> Text:
    """What `rollback` has done."""
    before, revision = document["before"], document["revision"]
    if before == revision:
        return _sentence(document["service"], f"already runs revision {revision}", document)
    return _sentence(document["service"], f"{_verb(document)} revision {revision} instead of {before}", document)


def after_rollback(document: Json) -> str:
    """That the config still describes something else."""
    return (
        "The config is unchanged: the next `ecsconsul up` deploys what it describes, and `ecsconsul plan` shows the"
        " difference."
    )


def revision_cells(one: Json) -> list[Text]:
    """A row of the table of `history`."""
    state = Text("no", "yellow")
    if one["rolled_back"]:
        state = Text(f"rolled back {_short(one['rolled_back'])}", "yellow")
    elif one["stable"]:
        state = Text(_short(one["stable"]), "green")
    running = Text(f"{one['running']}" if one["running"] else "")
    if one["current"]:
        running = Text(f"{one['running']}, current", "bold")
    texts = (_short(one["registered"]), one["by"] or "")
    return [Text(f"{one['revision']}", "bold"), Text(one["image"]), *map(Text, texts), state, running]


def _sentence(service: str, text: str, document: Json) -> Text:
    took = (f" in {document['seconds']:.1f} s", "bold")
    return Text.assemble((service, "bold"), " ", (text, "bold"), took, (f"  {document['image']}", "dim"))


def _verb(document: Json) -> str:
    return "runs" if document["waited"] else "is moving to"


def _short(time: str | None) -> str:
    """A time without its fraction of a second."""
    return f"{time[:10]} {time[11:19]}" if time else ""
