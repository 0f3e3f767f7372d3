"""An ECS task definition as a service, in the form that RegisterTaskDefinition takes or DescribeTaskDefinition gives.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .container_definition import read_container
from .document import Fields, Node
from .draft import Draft, LabDraft, ServiceDraft, named, valid_name

# what AWS adds to a task definition, which is no setting
_OF_AWS = (
    "taskDefinitionArn revision status requiresAttributes compatibilities registeredAt registeredBy deregisteredAt"
    " deleteRequestedAt"
)
_REASONS = {
    "AWS's own, not a setting": _OF_AWS,
    "the lab's stack has an execution role of its own": "executionRoleArn",
    "ECS spreads tasks over zones and instances": "placementConstraints",
    "tasks run on the lab's EC2 instances": "requiresCompatibilities",
    "a task definition has the lab's own tags": "tags",
    "ecsconsul has no key for it: a task has namespaces of its own": "pidMode ipcMode",
    "Consul finds services without a proxy of App Mesh's": "proxyConfiguration",
    "ecsconsul has no key for GPUs and other devices": "inferenceAccelerators",
    "it's for Fargate; a container here uses the instance's disk": "ephemeralStorage",
    "tasks run on Linux, on the architecture of the instances (aws.instance_type)": "runtimePlatform",
    "ecsconsul has no key for it": "enableFaultInjection trustedExecutionConfiguration",
}
_NETWORKS = {
    "awsvpc": "in awsvpc mode each task had an address of its own; here it has the instance's, and a free port on it",
    "host": "in host mode it had the instance's network; here a port is published by `host_port`",
    "none": "without a network; here it has one",
}


def task_definitions_in(document: Node) -> Iterator[tuple[Node, Node | None]]:
    """Each task definition of a document, with the tags that stand beside it."""
    if document.kind == "list":
        for item in document.items():
            yield from task_definitions_in(item)
    elif "taskDefinition" in document.fields() and document.fields()["taskDefinition"].kind == "map":
        yield document.fields()["taskDefinition"], document.fields().get("tags")
    else:
        yield document, None


def is_task_definition(document: Node) -> bool:
    """Whether a document is one task definition or a list of them."""
    if document.kind == "list":
        return bool(document.value) and all(is_task_definition(one) for one in document.items())
    if document.kind != "map":
        return False
    inner = document.value.get("taskDefinition")
    return "containerDefinitions" in document.value or (inner is not None and is_task_definition(inner))


def import_task_definitions(documents: list[Node]) -> LabDraft:
    """The lab of one task definition or several. Raises LabError."""
    files = list(dict.fromkeys(one.file for one in documents))
    lab = LabDraft("", ", ".join(files))
    for document in documents:
        for definition, tags in task_definitions_in(document):
            family = definition.fields().get("family")
            source = family.text() if family else Path(definition.file).stem
            service: ServiceDraft = named(ServiceDraft, source, [one.name for one in lab.services])
            service.source = source
            read_task_definition(service, definition)
            if tags is not None and tags.kind == "list" and tags.value:
                service.lose(tags, "a task definition has the lab's own tags")
            lab.services.append(service)
    first = lab.services[0].source if lab.services else "lab"
    lab.name = valid_name(first if len(lab.services) == 1 else f"{first}-and-more", fallback="lab")
    return lab


def read_task_definition(service: ServiceDraft, node: Node) -> None:
    """Fills a service from a task definition: its main container, and the others. Raises LabError."""
    fields = Fields(node, service.lose)
    fields.take("family")
    containers = fields.take("containerDefinitions")
    if containers is None or not containers.items():
        raise node.wrong("containerDefinitions with at least one container")
    network = fields.take("networkMode")
    mode = network.text() if network else "bridge"
    main = _main(containers.items())
    names = _names(service, containers.items(), main)
    volumes = _volumes(service, fields.take("volumes"), _mounted(containers.items()))
    for index, item in enumerate(containers.items()):
        source = _name(item, index)
        draft: Draft = service if item is main else Draft(names[source])
        if item is not main:
            service.containers.append(draft)
        elif source != service.name:
            service.note("", f"its main container was called {source}; here it has the service's name")
        read_container(draft, item, volumes, names, mode)
    if (role := fields.take("taskRoleArn")) is not None:
        service.put("task_role", role.text(), "for AWS; it must trust ecs-tasks.amazonaws.com")
    if mode in _NETWORKS and network is not None:
        service.lose(network, _NETWORKS[mode])
    elif network is not None:
        service.note("", f"networkMode: {mode} is what every task has")
    _task_size(service, fields)
    for why, keys in _REASONS.items():
        fields.lose(keys, why)
    fields.close()


def _name(node: Node, index: int) -> str:
    found = node.fields().get("name")
    return found.text() if found else f"container-{index + 1}"


def _main(containers: list[Node]) -> Node:
    """The first essential container with a port, else the first essential one."""

    def is_essential(node: Node) -> bool:
        given = node.fields().get("essential")
        return given is None or given.kind == "null" or given.flag()

    def has_port(node: Node) -> bool:
        given = node.fields().get("portMappings")
        return given is not None and given.kind == "list" and bool(given.value)

    essential = [one for one in containers if is_essential(one)] or containers
    return next((one for one in essential if has_port(one)), essential[0])


def _names(service: ServiceDraft, containers: list[Node], main: Node) -> dict[str, str]:
    """The containers' names here, by those that they have in the task definition."""
    found: dict[str, str] = {}
    for index, node in enumerate(containers):
        source = _name(node, index)
        own = service.name if node is main else valid_name(source, [service.name, *found.values()], "container")
        found[source] = own
        if node is not main and own != source:
            service.note("containers", f"{source} is called {own} here; a name is 2 to 32 of a-z, 0-9 and -")
    return found


def _mounted(containers: list[Node]) -> set[str]:
    """The names of the volumes that containers mount."""
    mounts = [one.fields().get("mountPoints") for one in containers]
    items = [item.fields() for one in mounts if one is not None and one.kind == "list" for item in one.items()]
    return {item["sourceVolume"].text() for item in items if "sourceVolume" in item}


def _volumes(service: ServiceDraft, node: Node | None, mounted: set[str]) -> dict[str, Node]:
    """The task's volumes by name. What `volumes` has no key for is reported."""
    found = {}
    for item in node.items() if node else ():
        fields = Fields(item, service.lose)
        name, host, efs = fields.take("name"), fields.take("host"), fields.take("efsVolumeConfiguration")
        if name is None:
            raise item.wrong("a volume with a name")
        if name.text() not in mounted:
            service.lose(item, "no container mounts it")
            continue
        found[name.text()] = item
        if host is not None:
            inner = Fields(host, service.lose)
            inner.take("sourcePath")
            inner.close()
        if efs is not None:
            _efs(service, efs)
        fields.close("a volume is a folder of the task's, of the instance (`host`) or of EFS (`efs`)")
    return found


def _efs(service: ServiceDraft, node: Node) -> None:
    fields = Fields(node, service.lose)
    fields.take("fileSystemId")
    root, access = fields.take("rootDirectory"), fields.take("authorizationConfig")
    transit = fields.take("transitEncryption")
    if transit is not None and transit.text() != "ENABLED":
        service.lose(transit, "EFS is always encrypted in transit here")
    if access is not None:
        inner = Fields(access, service.lose)
        point = inner.take("accessPointId")
        if point is not None and root is not None and root.text() != "/":
            service.lose(root, "an access point has a root folder of its own")
        inner.close()
    fields.close()


def _task_size(service: ServiceDraft, fields: Fields) -> None:
    """A task's size is for the containers that have none of their own."""
    for key in ("cpu", "memory"):
        node = fields.take(key)
        if node is None:
            continue
        without = [one for one in service.all_containers if key not in one.keys]
        amount = _amount(node, key)
        rest = amount - sum(one.keys[key] for one in service.all_containers if key in one.keys)
        if not without or rest < len(without) * 4:
            service.lose(node, "a task's size is the sum of its containers' here")
            continue
        for one in without:
            one.put(key, rest // len(without), f"of the task's {node.text()}")


def _amount(node: Node, key: str) -> int:
    """CPU units or MiB; ECS takes "1 vCPU" and "2 GB" too."""
    text = node.text().lower().replace(" ", "")
    unit = "vcpu" if key == "cpu" else "gb"
    number = Node("str", text.removesuffix(unit), node.path, node.file, node.line).number()
    return int(number * 1024) if text.endswith(unit) else int(number)
