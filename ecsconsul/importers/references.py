"""Services that find each other by their names in compose or ECS: what changes now that Consul finds them.

A container's resolver searches service.consul, on this machine as in AWS, so the name `db` is db.service.consul. What
changes is the port: it is on the instance, free for each task unless host_port fixes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .draft import Draft, LabDraft, ServiceDraft

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html (hostPort), and Consul's own
_RESERVED = {22, 53, 2375, 2376, 8300, 8301, 8302, 8500, 8501, 8600, 51678, 51679, 51680}
# variables whose value is a name alone
_NAMES_A_HOST = re.compile(
    r"HOST|SERVER|URL|URI|ADDR|ENDPOINT|SERVICE|BROKER|NODE|PEER|MASTER|SEED|PROXY|UPSTREAM|BACKEND|TARGET|_FROM|DSN",
    re.IGNORECASE,
)
_NO_HOST = re.compile(
    r"(_DB|_DATABASE|DATABASE_NAME|DB_NAME|_USER|USERNAME|PASSWORD|PASS|SECRET|_NAME)$", re.IGNORECASE
)
_SECRET = re.compile(r"PASSW|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|_PWD$|_PASS$", re.IGNORECASE)
_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_PORT = re.compile(r":([0-9]{1,5})(?![0-9])")


def resolve(lab: LabDraft) -> None:
    """Notes at each value that names another service what it finds now, and fixes ports where that keeps it working."""
    known = {name: service for service in lab.services for name in {*service.aliases, service.source, service.name}}
    found = [
        (draft, place, name, port, service)
        for own in lab.services
        for draft in own.all_containers
        for place, text in list(_texts(draft))
        for name, port in names_in(text, place, known)
        if (service := known[name]) is not own
    ]
    for *_, port, service in found:
        _fix_port(lab, service, port)
    for draft, place, name, port, service in found:
        _explain(draft, place, name, port, service)


def _texts(draft: Draft) -> Iterator[tuple[str, str]]:
    """The texts of a container that may name a host, by place."""
    for name, value in draft.keys.get("environment", {}).items():
        yield f"environment.{name}", value
    for key in ("command", "entry_point"):
        words = draft.keys.get(key, [])
        yield key, words if isinstance(words, str) else " ".join(words)
    check = draft.keys.get("health_check", {}).get("command", "")
    yield "health_check", check if isinstance(check, str) else " ".join(check)


def names_in(text: str, place: str, known: dict[str, ServiceDraft]) -> Iterator[tuple[str, int]]:
    """The services that a text names as hosts, each with its port or 0.

    A name counts with a port after it, with // or @ before it, or alone in a variable that is called after hosts.
    """
    variable = place.rpartition(".")[2]
    is_variable = place.startswith("environment.")
    alone = is_variable and bool(_NAMES_A_HOST.search(variable)) and not _NO_HOST.search(variable)
    for name in sorted(known, key=len, reverse=True):
        for match in re.finditer(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text):
            before, after = text[: match.start()], text[match.end() :]
            port = _PORT.match(after)
            if (
                port
                or before.endswith(("//", "@"))
                or (alone and before[-1:] in ("", ",", " ", ";", "=") and after[:1] in ("", ",", " ", ";", "/"))
            ):
                yield name, int(port[1]) if port else 0


def _fix_port(lab: LabDraft, service: ServiceDraft, port: int) -> None:
    """Gives a service that others find by its name the host port that they expect, if one task may have it."""
    number = port or next((one["port"] for one in service.bindings if one.get("protocol", "tcp") == "tcp"), 0)
    binding = next((one for one in service.bindings if one["port"] == number), None)
    taken = {one.get("host_port") for other in lab.services for one in other.bindings}
    if port and binding is None and not service.bindings and port not in taken:
        service.keys.pop("ports", None)
        service.notes.pop("ports", None)
        binding = service.keys
        binding["port"] = number
        service.note("port", "the port by which others reach it")
    if not binding or binding.get("host_port") or number in taken or number in _RESERVED or service.count > 1:
        return
    binding["host_port"] = number
    place = "host_port" if binding is service.keys else "ports"
    text = f"fixed at {number}, where others expect {service.name}; leave it out once they ask SRV for the port"
    service.note(place, text)


def _explain(draft: Draft, place: str, name: str, port: int, service: ServiceDraft) -> None:
    own = f"{service.name}.service.consul"
    bindings = service.bindings
    binding: dict[str, Any] | None = next(
        (one for one in bindings if one["port"] == port), bindings[0] if bindings else None
    )
    if binding is None:
        draft.note(place, f"{name} has no port here, so it isn't in Consul: give it one, and it is {own}")
        return
    if name != service.name:
        draft.note(place, f"{name} is called {own} now: change it here")
    inside, at = binding["port"], binding.get("host_port")
    if at == inside:
        text = f"{name} is found by Consul as {own} (containers search service.consul, so {service.name} is enough)"
        text += f", at port {at} as long as its host_port stays"
    elif at:
        text = f"{name} is found by Consul as {own}, at port {at} (its host_port) instead of {inside}: change it here"
    else:
        text = f"{name} is found by Consul as {own}, at a port that differs from task to task: ask SRV for it"
        text += f", or give {service.name} a host_port"
    draft.note(place, text)


def point_out_secrets(draft: Draft) -> None:
    """Notes at variables that look like secrets where they belong. The values are kept."""
    for name, value in draft.keys.get("environment", {}).items():
        is_secret = (
            _SECRET.search(name)
            and not name.endswith(("_FILE", "_PATH"))
            and value not in ("", "yes", "no", "true", "false")
        )
        if is_secret or _WITH_PASSWORD.search(value):
            draft.note(
                f"environment.{name}",
                f"looks like a secret: `secrets: {{{name}: /path/in/ssm}}` keeps it out of this file",
            )
