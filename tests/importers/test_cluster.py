"""What ECS describes of a cluster becomes a lab, and what it lacks is named."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from ecsconsul.importers.cluster import ClusterAnswers, import_cluster
from ecsconsul.importers.settle import Imported, settled
from tests.importers.examples import FOLDER, lab_of, said

ARN = "arn:aws:ecs:eu-west-1:123456789012"


def definition(family: str, **container: Any) -> dict[str, Any]:
    return {
        "taskDefinitionArn": f"{ARN}:task-definition/{family}:4",
        "family": family,
        "revision": 4,
        "networkMode": "awsvpc",
        "containerDefinitions": [{"name": "app", "image": f"{family}:1", "memory": 256, **container}],
        "registeredAt": datetime(2026, 1, 2, tzinfo=timezone.utc),
    }


def service(name: str, family: str, **fields: Any) -> dict[str, Any]:
    return {"serviceName": name, "taskDefinition": f"{ARN}:task-definition/{family}:4", "desiredCount": 1, **fields}


def imported() -> Imported:
    connect = {"services": [{"portName": "http", "clientAliases": [{"port": 80, "dnsName": "backend"}]}]}
    definitions = [
        definition("api", portMappings=[{"containerPort": 8080, "name": "http"}]),
        definition("front", environment=[{"name": "API", "value": "http://backend:80"}]),
        definition("agent"),
    ]
    services = [
        service(
            "prod-api",
            "api",
            desiredCount=3,
            deployments=[{"status": "PRIMARY", "serviceConnectConfiguration": connect}],
        ),
        service(
            "front",
            "front",
            launchType="FARGATE",
            loadBalancers=[{"targetGroupArn": "arn:tg"}],
            enableExecuteCommand=True,
        ),
        service(
            "agent", "agent", schedulingStrategy="DAEMON", desiredCount=2, serviceRegistries=[{"registryArn": "arn:sd"}]
        ),
    ]
    instances = [{"attributes": [{"name": "ecs.instance-type", "value": "m5.large"}]}] * 3
    cluster = {
        "clusterName": "prod",
        "capacityProviders": ["FARGATE"],
        "tags": [{"key": "a", "value": "b"}],
        "settings": [],
    }
    by_arn = {one["taskDefinitionArn"]: one for one in definitions}
    return settled(import_cluster(ClusterAnswers("prod", cluster, services, by_arn, instances)), FOLDER)


def test_counts_daemons_and_instances() -> None:
    lab = lab_of(imported())
    assert (lab.name, lab.instances) == ("prod", 3)
    found = {one.name: (one.image, one.count, one.schedule) for one in lab.services}
    assert found == {
        "agent": ("agent:1", 3, "daemon"),
        "front": ("front:1", 1, "replica"),
        "prod-api": ("api:1", 3, "replica"),
    }


def test_what_ecs_did_otherwise_is_named() -> None:
    lost = {loss.path for _, loss in imported().losses}
    assert {"front.launchType", "front.loadBalancers", "front.enableExecuteCommand", "agent.serviceRegistries"} <= lost
    assert {"cluster.capacityProviders", "cluster.tags", "prod-api.deployments"} <= lost
    assert "the cluster's instances: m5.large" in said(imported())


def test_service_connects_names_lead_to_consul() -> None:
    text = said(imported())
    assert "Service Connect's clients knew it as backend" in text
    front = lab_of(imported()).service("front")
    assert front is not None
    assert front.environment == {"API": "http://prod-api:80"}
    assert "backend is prod-api.service.consul here" in text
