"""Services that find each other by their names in compose or ECS: what changes now that Consul finds them.

A container's resolver searches service.consul, on this machine as in AWS, so the name `db` is db.service.consul. What
changes is the port: it is on the instance, free for each task unless host_port fixes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from ..config.service_rules import RESERVED_PORTS
from .draft import Draft, LabDraft, ServiceDraft

# variables whose value is a name alone
_NAMES_A_HOST = re.compile(
    r"HOST|SERVER|URL|URI|ADDR|ENDPOINT|SERVICE|BROKER|NODE|PEER|MASTER|SEED|PROXY|UPSTREAM|BACKEND|TARGET|_FROM|DSN",
    re.IGNORECASE,
)
_NO_HOST = re.compile(
    r"(_DB|_DATABASE|DATABASE_NAME|DB_NAME|_USER|USERNAME|PASSWORD|PASS|SECRET|_NAME)$", re.IGNORECASE
)
_SECRET = re.compile(r"PASSW|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|_PWD$|_PASS$", re.IGNORECASE)
_NO_SECRET = re.compile(r"|[0-9]{1,3}|yes|no|true|false", re.IGNORECASE)
_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
# a host's name, and the domain of a private zone
_HOST = re.compile(
    r"(?<![\w.-])(?P<name>\w(?:[\w-]*\w)?)(?P<zone>(?:\.[\w-]+)*\.(?:local|internal|consul))?(?![\w-]|\.\w)"
)
# what may stand beside a name that is a whole value, or one of several
_BESIDE = ("", ",", " ", ";", "=", "/", '"', "'")
_PORT = re.compile(r":([0-9]{1,5})(?![0-9])")


class Reference(NamedTuple):
    """A service that a text names: the text that stands for its host, its port or 0, and the service."""

    host: str
    port: int
    service: ServiceDraft


def resolve(lab: LabDraft) -> None:
    """Notes at each value that names another service what it finds now, and fixes ports where that keeps it working.

    Variables with a name that the service doesn't have here get the one that it has.
    """
    known = {alias: service for service in lab.services for alias in service.aliases}
    known |= {name: service for service in lab.services for name in (service.name, service.source)}
    found: list[tuple[Draft, str, Reference]] = []
    for own in lab.services:
        others = {name: service for name, service in known.items() if service is not own}
        for draft in own.all_containers:
            for place, text in list(_texts(draft)):
                references = list(references_in(text, place, others))
                _ask_about_words(draft, place, text, others, {one.host for one in references})
                found += [(draft, place, one) for one in references]
    for _, _, reference in found:
        _fix_port(lab, reference.service, reference.port)
    for draft, place, reference in found:
        _explain(draft, place, reference)


def _ask_about_words(draft: Draft, place: str, text: str, known: Mapping[str, ServiceDraft], hosts: Set[str]) -> None:
    """Notes at a word that was a service's name and isn't here, and of which nothing tells whether it means a host."""
    for word in dict.fromkeys(match[0] for match in _HOST.finditer(text)):
        if word in known and word not in hosts and word != known[word].name:
            draft.note(place, f"if {word} is the service, change it: here it is called {known[word].name}")


def _texts(draft: Draft) -> Iterator[tuple[str, str]]:
    """The texts of a container that may name a host, by place."""
    for name, value in draft.keys.get("environment", {}).items():
        yield f"environment.{name}", value
    for key in ("command", "entry_point"):
        words = draft.keys.get(key, [])
        yield key, words if isinstance(words, str) else " ".join(words)
    check = draft.keys.get("health_check", {}).get("command", "")
    yield "health_check", check if isinstance(check, str) else " ".join(check)


def references_in(text: str, place: str, known: Mapping[str, ServiceDraft]) -> Iterator[Reference]:
    """The services that a text names as hosts.

    A name counts with a port after it, with // or @ before it, or alone in a variable that is called after hosts; and
    with the domain of a private zone, as Cloud Map gives it.
    """
    variable = place.rpartition(".")[2] if place.startswith("environment.") else ""
    is_host = bool(_NAMES_A_HOST.search(variable)) and not _NO_HOST.search(variable)
    for match in _HOST.finditer(text):
        service = known.get(match[0]) or known.get(match["name"] if match["zone"] else "")
        if service is None:
            continue
        before, after = text[: match.start()], text[match.end() :]
        port = _PORT.match(after)
        is_alone = is_host and before[-1:] in _BESIDE and after[:1] in _BESIDE
        if port or is_alone or match["zone"] or before.endswith(("//", "@")):
            yield Reference(match[0], int(port[1]) if port else 0, service)


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
    if not binding or binding.get("host_port") or number in taken or number in RESERVED_PORTS or service.count > 1:
        return
    binding["host_port"] = number
    place = "host_port" if binding is service.keys else "ports"
    text = f"fixed at {number}, where others expect {service.name}; leave it out once they ask SRV for the port"
    service.note(place, text)


def _explain(draft: Draft, place: str, reference: Reference) -> None:
    host, port, service = reference
    own = f"{service.name}.service.consul"
    _rename(draft, place, host, service.name)
    bindings = service.bindings
    binding = next((one for one in bindings if one["port"] == port), bindings[0] if bindings else None)
    if binding is None:
        draft.note(place, f"{host} has no port here, so it isn't in Consul: give it one, and it is {own}")
        return
    inside, at = binding["port"], binding.get("host_port")
    text = f"{host} is found by Consul as {own}" if host == service.name else f"{host} is {own} here"
    if at == inside:
        text += f" (containers search service.consul, so {service.name} is enough), at port {at} as long as its"
        text += " host_port stays"
    elif at:
        text += f", at port {at} (its host_port) instead of {inside}: change it here"
    else:
        text += f", at a port that differs from task to task: ask SRV for it, or give {service.name} a host_port"
    draft.note(place, text)


def _rename(draft: Draft, place: str, host: str, name: str) -> None:
    """Writes a service's name here for the one that it had, in a variable; elsewhere a note must do."""
    if host in (name, f"{name}.service.consul"):
        return
    variable = place.removeprefix("environment.")
    if variable == place:
        draft.note(place, f"{host} is called {name} here: change it")
        return
    values = draft.keys["environment"]
    values[variable] = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-]|\.\w)", name, values[variable])


def point_out_secrets(draft: Draft) -> None:
    """Notes at variables that look like secrets where they belong. The values are kept."""
    for name, value in draft.keys.get("environment", {}).items():
        is_secret = _SECRET.search(name) and not name.endswith(("_FILE", "_PATH")) and not _NO_SECRET.fullmatch(value)
        if is_secret or _WITH_PASSWORD.search(value):
            hint = f"`secrets: {{{name}: /path/in/ssm}}` keeps it out of this file"
            draft.note(f"environment.{name}", f"looks like a secret: {hint}")
