"""`diff` names exactly what another AWS client has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.e2e.lab import Lab, fields

# nothing of it depends on what the tasks run as
RUNTIMES = ("processes",)


@contextmanager
def resized_group(lab: Lab) -> Iterator[tuple[int, int]]:
    """The ECS instances' group with another maximum; yields the old and the new one."""
    client = lab.client("autoscaling")
    groups = client.describe_auto_scaling_groups()["AutoScalingGroups"]
    group = next(one for one in groups if "EcsInstances" in one["AutoScalingGroupName"])
    name, size = group["AutoScalingGroupName"], group["MaxSize"]
    client.update_auto_scaling_group(AutoScalingGroupName=name, MaxSize=size + 1)
    try:
        yield size, size + 1
    finally:
        client.update_auto_scaling_group(AutoScalingGroupName=name, MaxSize=size)


def test_diff_names_what_another_client_has_changed(lab: Lab) -> None:
    ecs = lab.client("ecs")
    with ExitStack() as stack:
        stack.callback(lab.up)
        small, large = stack.enter_context(resized_group(lab))
        ecs.update_service(cluster=lab.name, service="stock-price", desiredCount=2)
        found = ecs.describe_task_definition(taskDefinition=lab.described("weather")["taskDefinition"])
        (container,) = found["taskDefinition"]["containerDefinitions"]
        container["environment"].append({"name": "API_TOKEN", "value": "hunter2"})
        family = found["taskDefinition"]["family"]
        ecs.register_task_definition(family=family, networkMode="bridge", containerDefinitions=[container])
        portal = lab.described("portal")["serviceArn"]
        ecs.untag_resource(resourceArn=portal, tagKeys=["ecsconsul:fingerprint"])
        result = lab.run("diff", "--exit-code", "--output", "json")
        assert result.code == 5
        named = fields(result.document, "expected", "actual")
        assert "hunter2" not in result.out
        variable, tag = named.pop("tasks/weather")
        assert variable == ("containers.weather.environment.API_TOKEN", None, "(changed)")
        assert (tag[0], tag[2]) == ("tags.ecsconsul:fingerprint", None)
        assert named == {
            "services/stock-price": [("desiredCount", 1, 2)],
            "services/portal": [("tags.ecsconsul:fingerprint", "set by up", None)],
            "stack": [("EcsInstances.MaxSize", str(small), str(large))],
        }
        assert all(step["way_out"] for step in result.document["steps"] if step["drifted"])
    assert lab.run("diff", "--exit-code").code == 0
