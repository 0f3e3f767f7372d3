"""The revisions of a service's task definition: which became stable, which one a rollback goes to, which are removed.

That a revision became stable, or was rolled back, is a tag on its task definition, where every machine can read it.
ECS's own history (ListServiceDeployments) doesn't say of a task definition whether it ever ran well, and ends some day:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..aws_tags import LAB_TAG, as_items, as_mapping
from ..config.lab import Lab
from ..errors import LabError
from ..targets.base import Target
from ..targets.client_errors import client_error
from .batching import DELETE_TASK_DEFINITIONS_MAX, in_chunks
from .rollout import is_stable
from .step import Report
from .step4_task_definitions import dropped_images, images_of, revisions_of

# when ECS and Consul last saw all of its tasks healthy, and when a rollback left it, in ISO 8601
STABLE_TAG = "ecsconsul:stable"
ROLLED_BACK_TAG = "ecsconsul:rolled-back"
MAX_REQUESTS = 8


@dataclass(frozen=True)
class Revision:
    """One active revision of a service's task definition; times are ISO 8601, empty where there is none.

    `images` are those of all containers by name, `image` that of the first one. `by` is the user or role who registered
    it, `running` the number of tasks that run it, and `is_current` whether the service is to run it.
    """

    number: int
    arn: str
    image: str
    registered: str = ""
    by: str = ""
    stable: str = ""
    rolled_back: str = ""
    running: int = 0
    is_current: bool = False
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_stable(self) -> bool:
        """Whether a rollback may go there: it was stable, and nobody has rolled it back since."""
        return bool(self.stable) and self.rolled_back < self.stable


def history(target: Target, lab: Lab, name: str, service: Mapping[str, Any] | None) -> list[Revision]:
    """The lab's active revisions of a service, newest first; `service` is ECS's description of it. Read-only.

    A revision that isn't active can't be run any more:
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
    """
    ecs = target.client("ecs")
    family = lab.family(name)
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        described = pool.map(lambda arn: _describe(ecs, arn), revisions_of(ecs, family, "ACTIVE"))
        return [_revision(one, tags, service) for one, tags in described if tags.get(LAB_TAG) == lab.name]


def rollback_target(revisions: Iterable[Revision], current: int) -> Revision | None:
    """Where a rollback from the revision with the number `current` goes; None if there is nothing to go back to.

    The newest of the older ones that was stable. So a second rollback goes further back, and a revision that was rolled
    back is passed over, until it is deployed and stable again.
    """
    older = [one for one in revisions if one.number < current and one.was_stable]
    return max(older, key=lambda one: one.number, default=None)


def superfluous(revisions: Sequence[Revision], keep: int) -> list[Revision]:
    """The revisions to remove: not one of the newest `keep`, not in use, and not where a rollback goes."""
    in_use = [one.number for one in revisions if one.is_current or one.running]
    back = rollback_target(revisions, min(in_use, default=0))
    kept = {*in_use, *([back.number] if back else [])}
    newest = sorted((one.number for one in revisions), reverse=True)[:keep]
    return [one for one in revisions if one.number not in kept.union(newest)]


def mark_stable(target: Target, arn: str, report: Report) -> None:
    """Record that the tasks of a revision are healthy now."""
    _tag(target, arn, STABLE_TAG, report)


def mark_rolled_back(target: Target, arn: str, report: Report) -> None:
    """Record that a rollback has left the revision."""
    _tag(target, arn, ROLLED_BACK_TAG, report)


def settle(target: Target, lab: Lab, service: Mapping[str, Any], report: Report) -> None:
    """What follows a successful deployment: record that its revision is stable, and remove old ones.

    Neither is a reason for a deployment to fail.
    """
    mark_stable(target, service["taskDefinition"], report)
    try:
        if removed := prune(target, lab, service):
            report.say(f"removed {removed} old revision{'s' if removed > 1 else ''}")
    except (LabError, client_error()) as error:
        report.say(f"old revisions were not removed: {error}")


def prune(target: Target, lab: Lab, service: Mapping[str, Any]) -> int:
    """Deregister and delete a service's old revisions; returns how many. Few revisions take one request.

    With them go the images of containers that only they have: `down` would find nothing any more that names them.
    """
    ecs, name = target.client("ecs"), service["serviceName"]
    if len(revisions_of(ecs, lab.family(name), "ACTIVE")) <= lab.keep:
        return 0
    revisions = history(target, lab, name, service)
    old = superfluous(revisions, lab.keep)
    for image in _dropped_with(target, lab, name, old, revisions):
        target.images.delete(image)
    for one in old:
        ecs.deregister_task_definition(taskDefinition=one.arn)
    for chunk in in_chunks([one.arn for one in old], DELETE_TASK_DEFINITIONS_MAX):
        ecs.delete_task_definitions(taskDefinitions=chunk)
    return len(old)


def _dropped_with(
    target: Target, lab: Lab, name: str, old: Sequence[Revision], revisions: Sequence[Revision]
) -> list[str]:
    """The names of images that neither the config nor a revision has that stays."""
    kept = {container for one in revisions if one not in old for container in one.images}
    left = [{container: image for container, image in one.images.items() if container not in kept} for one in old]
    return dropped_images(target, lab, name, left)


def number_of(arn: str) -> int:
    """The revision's number in a task definition's ARN."""
    return int(arn.rpartition(":")[2])


def _tag(target: Target, arn: str, name: str, report: Report) -> None:
    """Tag a revision with the time. Who may not do that, or finds it deleted, may still deploy."""
    now = _utc(datetime.now(timezone.utc))
    try:
        target.client("ecs").tag_resource(resourceArn=arn, tags=as_items({name: now}))
    except client_error() as error:
        report.say(f"the tag {name} of revision {number_of(arn)} was not set: {error}")


def _describe(ecs: Any, arn: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    """A revision and its tags; without tags when it has been deleted meanwhile."""
    try:
        found = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    except ecs.exceptions.ClientException:
        return {}, {}
    return found["taskDefinition"], as_mapping(found.get("tags"))


def _revision(definition: Mapping[str, Any], tags: Mapping[str, str], service: Mapping[str, Any] | None) -> Revision:
    arn = str(definition["taskDefinitionArn"])
    own = [d for d in (service or {}).get("deployments", ()) if d["taskDefinition"] == arn]
    is_current = (service or {}).get("taskDefinition") == arn
    registered = definition.get("registeredAt")
    images = images_of(definition)
    return Revision(
        number=number_of(arn),
        arn=arn,
        image=next(iter(images.values())),
        registered=_utc(registered) if registered else "",
        # the last part of arn:aws:iam::ACCOUNT:user/NAME, arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION, …:root
        by=str(definition.get("registeredBy") or "").rpartition(":")[2].rpartition("/")[2],
        # a command may have been killed before it recorded it
        stable=tags.get(STABLE_TAG) or (stable_since(service) if service and is_current else ""),
        rolled_back=tags.get(ROLLED_BACK_TAG, ""),
        running=sum(int(one.get("runningCount") or 0) for one in own),
        is_current=is_current,
        images=images,
    )


def stable_since(service: Mapping[str, Any]) -> str:
    """When the service's newest deployment was last changed, if it is complete; otherwise empty."""
    return _utc(service["deployments"][0].get("updatedAt") or service["createdAt"]) if is_stable(service) else ""


def _utc(time: datetime) -> str:
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
