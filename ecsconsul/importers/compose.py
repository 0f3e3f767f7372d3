"""A compose file as a lab. https://docs.docker.com/reference/compose-file/."""

from __future__ import annotations

from collections.abc import Mapping

from .compose_files import ComposeReader
from .compose_service import Context, read_service
from .compose_storage import Storage
from .document import Fields, Node
from .draft import Draft, LabDraft, ServiceDraft, named, valid_name
from .files import Files
from .interpolation import Variables, read_env

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""The files that compose looks for, in its order."""
_OVERRIDES = (
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
)
_INSIDE_IMAGES = (
    "names in images and in mounted files (nginx.conf, ...) aren't seen here; what holds for variables holds for them"
)
_AS_PROCESSES = (
    "without Docker, tasks are processes: a program listens at the HOST and PORT of its variables, and asks for names"
    " at CONSUL_DNS"
)


def import_compose(names: list[str], files: Files, environment: Mapping[str, str]) -> LabDraft:
    """The lab of one compose file, or of several of which a later one overrides.

    Variables come from `environment`, then from .env. Raises LabError with file and line.
    """
    shell = {name: value for name, value in read_env(files.text(".env") or "").items() if value is not None}
    variables = Variables({**shell, **environment})
    lab = LabDraft("", ", ".join(names))
    document = ComposeReader(files, variables, lab.head).read(names)
    fields = Fields(document, lab.head.lose)
    given, services = fields.take("name"), fields.take("services")
    source = given.text() if given else files.folder.absolute().name
    lab.name = valid_name(source, fallback="lab")
    _extensions(document, fields, lab.head)
    fields.lose("version", "compose ignores it too")
    fields.lose("networks", "a lab has one network, in which all services reach each other")
    fields.lose("models", "only compose runs it")
    volumes, secrets, configs = (_declared(fields.take(key)) for key in ("volumes", "secrets", "configs"))
    storage = Storage(files, volumes, secrets, configs)
    fields.close()
    for name, node in (services.fields() if services else {}).items():
        draft: ServiceDraft = named(ServiceDraft, name, [one.name for one in lab.services])
        draft.source = name
        read_service(draft, node, Context(files, dict(variables.values), storage))
        lab.services.append(draft)
    _know_aliases(lab)
    _find_jobs(lab, services)
    _lose_declared(lab.head, storage, document)
    _say_variables(lab, variables)
    _say_overrides(lab.head, names, files)
    if any(one.keys.get("depends_on") or one.losses for one in lab.services):
        lab.head.note("services", _INSIDE_IMAGES)
        lab.head.note("services", _AS_PROCESSES)
    return lab


def _extensions(document: Node, fields: Fields, head: Draft) -> None:
    for key in document.fields():
        if key.startswith("x-") and (node := fields.take(key)) is not None:
            head.lose(node, "compose ignores it too; what refers to its anchors has its values")


def _know_aliases(lab: LabDraft) -> None:
    """The second names in `links`, by which one service knows another."""
    by_source = {one.source: one for one in lab.services}
    for text in (text for service in lab.services for text in service.links):
        source, _, alias = text.partition(":")
        if alias and source in by_source:
            by_source[source].aliases.add(alias)


def _find_jobs(lab: LabDraft, services: Node | None) -> None:
    """Services whose end others wait for run once: ECS would start them again for ever."""
    found = [one.fields().get("depends_on") for one in (services.fields().values() if services else ())]
    waited = {
        name
        for node in found
        if node is not None and node.kind == "map"
        for name, one in node.fields().items()
        if one.kind == "map" and one.plain().get("condition") == "service_completed_successfully"
    }
    for service in lab.services:
        if service.source in waited:
            service.put(
                "count",
                0,
                f"others wait for its end, so it isn't a service: `ecsconsul run {service.name}` runs it once",
            )


def _declared(node: Node | None) -> dict[str, Node]:
    return node.fields() if node else {}


def _lose_declared(head: Draft, storage: Storage, document: Node) -> None:
    """Reports what volumes, secrets and configs say at the top, besides the files that services mount."""
    for node in storage.volumes.values():
        if node.kind == "map" and node.value:
            head.lose(node, "a volume here has `host` or `efs`, and otherwise lives as long as its task")
    used = {key: _used(document, key) for key in ("secrets", "configs")}
    for key, declared in (("secrets", storage.secrets), ("configs", storage.configs)):
        for name, node in declared.items():
            fields = Fields(node, head.lose)
            if name in used[key]:
                fields.take("file")
            fields.close("only `file` can be mounted; put secrets into SSM or Secrets Manager and use `secrets`")


def _used(document: Node, key: str) -> set[str]:
    services = document.fields()["services"].fields().values()
    listed = [one.fields().get(key) for one in services if one.kind == "map"]
    items = [item for one in listed if one and one.kind == "list" for item in one.items()]
    sources = [item.fields().get("source", item) if item.kind == "map" else item for item in items]
    return {one.text() for one in sources if one.kind not in ("map", "list", "null")}


def _say_variables(lab: LabDraft, variables: Variables) -> None:
    for name, node in variables.unset.items():
        message = variables.required.get(name, "")
        text = f"{name} (line {node.line}) isn't set in this shell or in .env, so it's empty here"
        _draft_of(lab, node).note("", f"{text}; compose asks for it{': ' + message if message else ''}"
                                  if name in variables.required else text)  # fmt: skip
    if variables.used:
        names = ", ".join(variables.used)
        lab.head.note("services", f"with the values that these variables had in this shell or in .env: {names}")


def _draft_of(lab: LabDraft, node: Node) -> Draft:
    """The service that a node belongs to, or the head."""
    return next((one for one in lab.services if f"{node.path}.".startswith(f"services.{one.source}.")), lab.head)


def _say_overrides(head: Draft, names: list[str], files: Files) -> None:
    for name in _OVERRIDES:
        if name not in names and names[0] in NAMES and files.text(name) is not None:
            head.note("services", f"{name} wasn't read: name it on the command line after {names[0]}")
