"""A cluster that exists as a lab: what ECS describes of its services, their task definitions and its instances.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .document import Fields, Node, from_values
from .draft import LabDraft, ServiceDraft, named, valid_name
from .task_definition import read_task_definition

_OF_AWS = (
    "serviceArn clusterArn status runningCount pendingCount deployments events createdAt createdBy roleArn"
    " currentServiceDeployment currentServiceRevisions taskSets resourceManagementType platformFamily"
)
_REASONS = {
    "Consul finds it; only the portal has a load balancer (aws.load_balancer)": "loadBalancers",
    "Cloud Map found it by this; now Consul does": "serviceRegistries",
    "tasks run on the lab's EC2 instances, by its own capacity provider": (
        "launchType capacityProviderStrategy platformVersion"
    ),
    "ecsconsul's deployments start new tasks first, and roll back by themselves": (
        "deploymentConfiguration deploymentController healthCheckGracePeriodSeconds"
    ),
    "ECS spreads tasks over zones and instances": "placementConstraints placementStrategy availabilityZoneRebalancing",
    "tasks share their instance's network": "networkConfiguration",
    "a service has the lab's own tags": "tags enableECSManagedTags propagateTags",
    "`ecsconsul exec` needs no setting": "enableExecuteCommand",
}
_MOST_INSTANCES = 20


@dataclass(frozen=True)
class ClusterAnswers:
    """What ECS answered: services as DescribeServices gives them, and the rest by ARN."""

    name: str
    cluster: dict[str, Any]
    services: list[dict[str, Any]]
    task_definitions: dict[str, dict[str, Any]]
    instances: list[dict[str, Any]] = field(default_factory=list)


def import_cluster(answers: ClusterAnswers) -> LabDraft:
    """The lab of a cluster. Raises LabError for an answer that isn't ECS's."""
    origin = f"cluster {answers.name}"
    lab = LabDraft(valid_name(answers.name, fallback="lab"), origin)
    for found in sorted(answers.services, key=lambda one: str(one["serviceName"])):
        service: ServiceDraft = named(ServiceDraft, found["serviceName"], [one.name for one in lab.services])
        service.source = found["serviceName"]
        arn = found["taskDefinition"]
        definition = from_values(answers.task_definitions[arn], origin, f"{service.source}.taskDefinition")
        read_task_definition(service, definition)
        _service(service, from_values(_compact(found), origin, f"{service.source}"))
        lab.services.append(service)
    _cluster(lab, answers)
    return lab


def _compact(found: dict[str, Any]) -> dict[str, Any]:
    """A service without what is empty or false, which says nothing, and with its deployments and events counted."""
    left = {key: value for key, value in found.items() if value is not False and value not in ([], {}, "", None)}
    for key in ("deployments", "events", "taskSets", "currentServiceRevisions"):
        if key in left:
            left[key] = f"{len(left[key])} of them"
    return left


def _service(service: ServiceDraft, node: Node) -> None:
    fields = Fields(node, service.lose)
    fields.take("serviceName")
    count, scheduling = fields.take("desiredCount"), fields.take("schedulingStrategy")
    definition = fields.take("taskDefinition")
    if scheduling is not None and scheduling.text() == "DAEMON":
        service.put("schedule", "daemon")
    elif count is not None and count.whole() != 1:
        service.put("count", count.whole())
    if definition is not None:
        service.note("", f"task definition {definition.text().rpartition('/')[2]}")
    _connect(service, node)
    for why, keys in _REASONS.items():
        fields.lose(keys, why)
    fields.lose(_OF_AWS, "AWS's own, not a setting")
    fields.close()


def _connect(service: ServiceDraft, node: Node) -> None:
    """Takes Service Connect's and Cloud Map's names as names that others reach the service by."""
    balancers = node.fields().get("loadBalancers")
    for item in balancers.items() if balancers else ():
        name = item.fields().get("loadBalancerName")
        if name is not None:
            service.aliases.add(name.text())


def service_connect(found: dict[str, Any]) -> list[str]:
    """The names by which Service Connect's clients reach a service, from its newest deployment."""
    primary: dict[str, Any] = next((one for one in found.get("deployments", ()) if one.get("status") == "PRIMARY"), {})
    names = []
    for one in primary.get("serviceConnectConfiguration", {}).get("services", ()):
        names += [alias["dnsName"] for alias in one.get("clientAliases", ()) if alias.get("dnsName")]
        names += [one[key] for key in ("discoveryName", "portName") if one.get(key)][:1]
    return list(dict.fromkeys(names))


def _cluster(lab: LabDraft, answers: ClusterAnswers) -> None:
    for service, found in zip(
        lab.services, sorted(answers.services, key=lambda one: str(one["serviceName"])), strict=True
    ):
        names = service_connect(found)
        if names:
            service.aliases |= set(names)
            service.note(
                "", f"Service Connect's clients knew it as {', '.join(names)}; now it is {service.name}.service.consul"
            )
    fields = Fields(from_values(_compact(answers.cluster), lab.origin, "cluster"), lab.head.lose)
    fields.lose("clusterName clusterArn status statistics attachments attachmentsStatus", "AWS's own, not a setting")
    fields.lose(
        "registeredContainerInstancesCount runningTasksCount pendingTasksCount activeServicesCount",
        "AWS's own, not a setting",
    )
    fields.lose(
        "capacityProviders defaultCapacityProviderStrategy",
        "the lab has a capacity provider of its own, with instances: {min, max}",
    )
    fields.lose("serviceConnectDefaults", "Consul finds services instead of Service Connect")
    fields.close()
    number = len(answers.instances)
    if number:
        lab.head.put("instances", min(number, _MOST_INSTANCES), f"the cluster has {number}")
    types = {
        a.get("value", "")
        for one in answers.instances
        for a in one.get("attributes", ())
        if a["name"] == "ecs.instance-type"
    }
    if types:
        lab.head.note("aws", f"the cluster's instances: {', '.join(sorted(types))}")
