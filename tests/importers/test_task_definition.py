"""Task definitions: the main container, those beside it, and what their fields become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ecsconsul.errors import LabError
from tests.importers.examples import EXAMPLES, from_task, lab_of, said, services_of


def example(name: str) -> str:
    return (EXAMPLES / "tasks" / f"{name}.json").read_text()


def task(*containers: dict[str, Any], **fields: Any) -> str:
    return json.dumps({"family": "web", "containerDefinitions": containers, **fields})


def test_the_first_essential_container_with_a_port_is_the_main_one() -> None:
    imported = from_task(example("app-mesh-xray"))
    service = lab_of(imported).services[0]
    assert service.name == "colorteller"
    assert service.image == "123456789012.dkr.ecr.us-west-2.amazonaws.com/colorteller"
    assert [one.name for one in service.containers] == ["envoy", "xray-daemon", "log-router"]
    assert service.depends_on == {"envoy": "HEALTHY"}
    assert service.links == ("xray-daemon:xray",)
    assert [(one.port, one.name, one.tags) for one in service.bindings] == [
        (9080, "colorteller", ("http",)), (9081, "colorteller-admin", ()),
    ]  # fmt: skip
    assert [one.essential for one in service.containers] == [True, False, True]
    assert service.memory == 300


def test_efs_secrets_and_files_in_s3() -> None:
    service = lab_of(from_task(example("efs-wordpress"))).services[0]
    assert service.volumes[0].efs == "fs-0123456789abcdef0" and service.volumes[0].root == "/wp"
    assert service.secrets["WORDPRESS_DB_PASSWORD"].endswith(":password::")
    assert (service.env_file, service.host_port, service.stop_timeout) == (
        ("arn:aws:s3:::my-bucket/wp.env",),
        8082,
        "90s",
    )
    assert service.containers[0].log is not None and service.containers[0].log.driver == "splunk"


def test_links_to_a_container_with_another_name_here_keep_their_alias() -> None:
    sidecar = {
        "name": "side",
        "image": "s",
        "links": ["app"],
        "dependsOn": [{"containerName": "app", "condition": "START"}],
    }
    imported = from_task(task({"name": "app", "image": "a", "portMappings": [{"containerPort": 80}]}, sidecar))
    side = lab_of(imported).services[0].containers[0]
    assert (side.links, side.depends_on) == (("web:app",), {"web": "START"})


def test_a_tasks_size_is_shared_among_containers_without_one() -> None:
    service = lab_of(
        from_task(
            task({"name": "a", "image": "i", "memory": 1000}, {"name": "b2", "image": "i"}, memory="3 GB", cpu="1 vCPU")
        )
    ).services[0]
    assert (service.memory, service.containers[0].memory) == (1000, 2072)
    assert (service.cpu, service.containers[0].cpu) == (512, 512)


def test_several_definitions_in_one_list() -> None:
    one, two = json.loads(example("gpu")), json.loads(example("datadog-daemon"))
    imported = from_task(json.dumps([one, two]))
    assert imported.services == ("gpu", "datadog-agent-task")


def test_what_the_config_refuses_is_named_with_the_reason() -> None:
    secret = {"name": "A", "valueFrom": "not a parameter"}
    imported = from_task(
        task(
            {
                "name": "a",
                "image": "i",
                "secrets": [secret],
                "ulimits": [{"name": "nofile", "softLimit": 9, "hardLimit": 5}],
            }
        )
    )
    lost = {loss.path: loss.why for _, loss in imported.losses}
    assert set(lost) == {"secrets.A", "ulimits.nofile.soft", "ulimits.nofile"}
    assert "the config's checks refuse it" in lost["secrets.A"]
    assert "not a parameter" in said(imported)


def test_command_lines_come_through_unchanged() -> None:
    given = json.loads(example("nginx-fargate"))["containerDefinitions"][0]
    service = services_of(from_task(example("nginx-fargate")))["fargate-nginx"]
    assert (service["entry_point"], service["command"]) == (given["entryPoint"], given["command"])


@pytest.mark.parametrize("containers", [[], None])
def test_without_containers_it_is_an_error(containers: Any) -> None:
    with pytest.raises(LabError, match="containerDefinitions"):
        from_task(json.dumps({"family": "f", "containerDefinitions": containers}))
