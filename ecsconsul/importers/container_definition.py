"""One container of an ECS task definition: each of its fields is taken, or named with the reason why it isn't.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .document import Fields, Node
from .draft import Draft, ServiceDraft, put_ports, valid_name

_REASONS = {
    "ecsconsul has no key for it: a task runs without further rights, devices or kernel settings": (
        "linuxParameters privileged readonlyRootFilesystem dockerSecurityOptions systemControls credentialSpecs"
    ),
    "a container has a network of its own, which ECS arranges": (
        "hostname disableNetworking dnsServers dnsSearchDomains extraHosts"
    ),
    "it's for work at a terminal; `ecsconsul exec` runs a command in a task": "interactive pseudoTerminal",
    "ecsconsul has no key for GPUs and other devices": "resourceRequirements",
    "log routers need the log driver awsfirelens, for which ecsconsul has no key": "firelensConfiguration",
    "ECS replaces the whole task instead": "restartPolicy",
    "`depends_on` waits as long as ECS does by default": "startTimeout",
    "ecsconsul has no key for it": "versionConsistency",
    "volumes are shared within the task by name: mount the same ones": "volumesFrom",
    "instances pull with their own role, or without a login": "repositoryCredentials",
}


def read_container(
    draft: Draft, node: Node, volumes: Mapping[str, Node], names: Mapping[str, str], network: str
) -> None:
    """Fills a draft from a container definition.

    `volumes` are the task's by name, `names` the containers' names here by those in the task definition, `network` is
    its mode. Raises LabError.
    """
    fields = Fields(node, draft.lose)
    fields.take("name")
    for key, ours in (("image", "image"), ("user", "user"), ("workingDirectory", "working_directory")):
        if (found := fields.take(key)) is not None:
            draft.put(ours, found.text())
    for key, ours in (("entryPoint", "entry_point"), ("command", "command")):
        if (found := fields.take(key)) is not None:
            draft.put(ours, found.texts())
    _size(draft, fields)
    _ports(draft, fields, network)
    _environment(draft, fields)
    _mounts(draft, fields, volumes)
    _neighbours(draft, fields, names)
    _health(draft, fields)
    _limits(draft, fields)
    essential = fields.take("essential")
    if essential is not None and not essential.flag():
        if isinstance(draft, ServiceDraft):
            draft.lose(essential, "a task's main container is always essential")
        else:
            draft.put("essential", False)
    for why, keys in _REASONS.items():
        fields.lose(keys, why)
    fields.close()


def _size(draft: Draft, fields: Fields) -> None:
    cpu, memory, reserved = fields.take("cpu"), fields.take("memory"), fields.take("memoryReservation")
    if cpu is not None and cpu.whole() > 0:
        draft.put("cpu", cpu.whole())
    elif cpu is not None:
        draft.lose(cpu, "a container has at least 1 CPU unit here; without `cpu` it has 100")
    if memory is not None:
        draft.put("memory", memory.whole())
    if reserved is not None and memory is None:
        draft.put("memory", reserved.whole(), "was memoryReservation, a soft limit; here it's the hard one")
    elif reserved is not None:
        draft.lose(reserved, "a container has one `memory`, its hard limit")


def _ports(draft: Draft, fields: Fields, network: str) -> None:
    node = fields.take("portMappings")
    found: list[dict[str, Any]] = []
    for item in node.items() if node else ():
        inner = Fields(item, draft.lose)
        port, host = inner.take("containerPort"), inner.take("hostPort")
        protocol, name = inner.take("protocol"), inner.take("name")
        application = inner.take("appProtocol")
        inner.lose("containerPortRange", "ecsconsul has no ranges: write each port")
        inner.close()
        if port is None:
            continue
        one: dict[str, Any] = {"port": port.whole()}
        if fixed := _host_port(draft, host, port, network):
            one["host_port"] = fixed
        if protocol is not None and protocol.text() == "udp":
            one["protocol"] = "udp"
        if application is not None:
            one["tags"] = [application.text()]
        if name is not None:
            _port_name(draft, one, name, is_first=isinstance(draft, ServiceDraft) and not found)
        found.append(one)
    put_ports(draft, found)
    if not found and isinstance(draft, ServiceDraft):
        draft.note("ports", "it has no port, so nothing is registered in Consul")


def _host_port(draft: Draft, host: Node | None, port: Node, network: str) -> int:
    """The fixed port on the instance, or 0."""
    if network == "host":
        draft.note("ports", "its network was the host's: each port is the instance's own")
        return port.whole()
    if network == "awsvpc" and host is not None:
        draft.lose(host, "in awsvpc mode it only repeats containerPort; here a task gets a free port, or `host_port`")
    if network == "awsvpc" or host is None:
        return 0
    return host.whole()


def _port_name(draft: Draft, entry: dict[str, Any], name: Node, *, is_first: bool) -> None:
    if is_first:
        draft.lose(name, f"in Consul a service's first port has its name: {draft.name}.service.consul")
        return
    entry["name"] = valid_name(f"{draft.name}-{name.text()}")
    draft.note("ports", f"{name.text()} is {entry['name']}.service.consul, because names are the whole lab's")


def _environment(draft: Draft, fields: Fields) -> None:
    found: dict[str, str] = {}
    node = fields.take("environment")
    for item in node.items() if node else ():
        inner = Fields(item, draft.lose)
        name, value = inner.take("name"), inner.take("value")
        inner.close()
        if name is not None:
            found[name.text()] = value.text() if value else ""
    draft.put("environment", found)
    node, files = fields.take("environmentFiles"), []
    for item in node.items() if node else ():
        inner = Fields(item, draft.lose)
        value, _ = inner.take("value"), inner.take("type")
        inner.close()
        files += [value.text()] if value else []
    draft.put("env_file", files, "from S3, so in AWS only; a lab on this machine needs a file here")
    draft.put("secrets", {name: _value_from(one) for name, one in _by_name(draft, fields.take("secrets")).items()})


def _by_name(draft: Draft, node: Node | None) -> dict[str, Node]:
    """Entries by their names."""
    found = {}
    for item in node.items() if node else ():
        name = item.fields().get("name")
        if name is not None:
            found[name.text()] = item
    return found


def _value_from(node: Node) -> str:
    found = node.fields().get("valueFrom")
    return found.text() if found else ""


def _mounts(draft: Draft, fields: Fields, volumes: Mapping[str, Node]) -> None:
    found: list[dict[str, Any]] = []
    node = fields.take("mountPoints")
    for item in node.items() if node else ():
        inner = Fields(item, draft.lose)
        source, path, read_only = inner.take("sourceVolume"), inner.take("containerPath"), inner.take("readOnly")
        inner.close()
        if source is None or path is None:
            draft.lose(item, "a mount needs a volume and a path")
            continue
        one: dict[str, Any] = {"name": source.text(), "path": path.text()}
        if read_only is not None and read_only.flag():
            one["read_only"] = True
        found.append({**one, **_volume(volumes.get(source.text()))})
    draft.put("volumes", found)


def _volume(node: Node | None) -> dict[str, str]:
    """Where a task's volume is; its other fields are reported with the task's."""
    given = node.plain() if node is not None else {}
    host, efs = given.get("host") or {}, given.get("efsVolumeConfiguration") or {}
    access = (efs.get("authorizationConfig") or {}).get("accessPointId")
    root = efs.get("rootDirectory")
    found = {"host": host.get("sourcePath"), "efs": efs.get("fileSystemId"), "access_point": access}
    found["root"] = None if root == "/" or access else root
    return {key: value for key, value in found.items() if value}


def _neighbours(draft: Draft, fields: Fields, names: Mapping[str, str]) -> None:
    node, found = fields.take("dependsOn"), {}
    for item in node.items() if node else ():
        inner = Fields(item, draft.lose)
        name, condition = inner.take("containerName"), inner.take("condition")
        inner.close()
        if name is not None:
            found[names.get(name.text(), name.text())] = condition.text() if condition else "START"
    draft.put("depends_on", found)
    links = fields.take("links")
    draft.put("links", [_link(one, names) for one in (links.texts() if links else ())])


def _link(text: str, names: Mapping[str, str]) -> str:
    """A link to a container that may be called otherwise here; its old name stays its alias."""
    name, _, alias = text.partition(":")
    ours = names.get(name, name)
    return f"{ours}:{alias or name}" if alias or ours != name else name


def _health(draft: Draft, fields: Fields) -> None:
    node = fields.take("healthCheck")
    if node is None:
        return
    inner = Fields(node, draft.lose)
    command = inner.take("command")
    words = command.texts() if command else []
    if not words or words == ["NONE"]:
        draft.lose(node, "without `health_check` ECS makes none but that of `check`")
        return
    check: dict[str, Any] = {"command": words[1:] if words[0] == "CMD" else words}
    if words[0] == "CMD-SHELL":
        check["command"] = " ".join(words[1:])
    for key, ours in (("interval", "interval"), ("timeout", "timeout"), ("startPeriod", "start_period")):
        if (value := inner.take(key)) is not None and value.whole() > 0:
            check[ours] = f"{value.whole()}s"
    if (value := inner.take("retries")) is not None:
        check["retries"] = value.whole()
    inner.close()
    draft.put("health_check", check)


def _limits(draft: Draft, fields: Fields) -> None:
    ulimits = {}
    for name, item in _by_name(draft, fields.take("ulimits")).items():
        inner = Fields(item, draft.lose)
        inner.take("name")
        soft, hard = inner.take("softLimit"), inner.take("hardLimit")
        inner.close()
        if one := soft or hard:
            ulimits[name] = {"soft": one.whole(), "hard": (hard or one).whole()}
    draft.put("ulimits", ulimits)
    labels = fields.take("dockerLabels")
    draft.put(
        "labels",
        {key: one.text() if one.kind != "null" else "" for key, one in labels.fields().items()} if labels else {},
    )
    if (stop := fields.take("stopTimeout")) is not None:
        draft.put("stop_timeout", f"{stop.whole()}s" if stop.whole() else None)
    if (log := fields.take("logConfiguration")) is not None:
        _log(draft, log)


def _log(draft: Draft, node: Node) -> None:
    inner = Fields(node, draft.lose)
    driver, options = inner.take("logDriver"), inner.take("options")
    name = driver.text() if driver else ""
    if name == "awslogs":
        draft.lose(node, "the lab has a log group of its own (aws.logs), which `ecsconsul logs` reads")
        return
    if name == "awsfirelens":
        draft.lose(
            node, "awsfirelens needs a log router, for which ecsconsul has no key; the lab keeps the output (aws.logs)"
        )
        return
    inner.lose("secretOptions", "ecsconsul has no key for it")
    inner.close()
    found = {key: one.text() for key, one in options.fields().items()} if options else {}
    draft.put("log", {"driver": name, **({"options": found} if found else {})})
