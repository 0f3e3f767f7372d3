"""How much memory a container gets that has no limit, and how many instances of which type the tasks need."""

from __future__ import annotations

from .draft import LabDraft, ServiceDraft
from .well_known import DEFAULT_MEMORY, known

# the type, its CPU units, and the memory that ECS has to give of it, in MiB: 95 % of what EC2 says
_TYPES = (("t3.small", 2048, 1945), ("t3.medium", 2048, 3891), ("t3.large", 2048, 7782), ("t3.xlarge", 4096, 15564),
          ("t3.2xlarge", 8192, 31129), ("m5.4xlarge", 16384, 62259), ("m5.12xlarge", 49152, 186777),
          ("m5.24xlarge", 98304, 373555))  # fmt: skip
_CPU, _MOST_INSTANCES, _LEAST_INSTANCES = 100, 20, 2
# of one service, as in ECS: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
_MOST_TASKS = 5000
_NO_LIMIT = "there was no limit, and ECS needs one"


def give_memory(lab: LabDraft) -> None:
    """Gives each container without a limit what its image needs, or a common size."""
    for service in lab.services:
        for draft in service.all_containers:
            if "memory" not in draft.keys:
                draft.put("memory", known(draft.keys.get("image", "")).memory or DEFAULT_MEMORY, _NO_LIMIT)


def give_instances(lab: LabDraft) -> None:
    """Sets the type and number of the instances if the defaults have no room for the tasks."""
    tasks = [_size(service) for service in lab.services for _ in range(_tasks(service))]
    kind, cpu, memory = _type(tasks)
    number = len(_packed(tasks, cpu, memory))
    needed = min(max(number, _LEAST_INSTANCES), _MOST_INSTANCES)
    if kind != _TYPES[0][0]:
        lab.head.put(
            "aws",
            {"instance_type": kind, "server_instance_type": _TYPES[0][0]},
            "the largest task needs it; it sets the price of a lab in AWS",
        )
    if needed > lab.head.keys.get("instances", _LEAST_INSTANCES) or "instances" not in lab.head.keys:
        lab.head.put(
            "instances",
            needed,
            f"for tasks of {sum(m for _, m in tasks)} MiB in all; `ecsconsul plan` says what it costs in AWS",
        )


def _tasks(service: ServiceDraft) -> int:
    return 1 if service.is_daemon else min(service.count, _MOST_TASKS)


def _size(service: ServiceDraft) -> tuple[int, int]:
    """A task's CPU units and MiB."""
    drafts = service.all_containers
    return sum(one.keys.get("cpu", _CPU) for one in drafts), sum(one.keys.get("memory", 0) for one in drafts)


def _type(tasks: list[tuple[int, int]]) -> tuple[str, int, int]:
    most_cpu, most_memory = max((c for c, _ in tasks), default=0), max((m for _, m in tasks), default=0)
    fits = (one for one in _TYPES if one[1] >= most_cpu and one[2] >= most_memory)
    return next(fits, _TYPES[-1])


def _packed(tasks: list[tuple[int, int]], cpu: int, memory: int) -> list[tuple[int, int]]:
    """The free room of the instances after each task, the largest first, went to the first that has room."""
    free: list[tuple[int, int]] = []
    for needs_cpu, needs_memory in sorted(tasks, key=lambda one: one[::-1], reverse=True):
        if len(free) == _MOST_INSTANCES:
            break
        for index, (c, m) in enumerate(free):
            if c >= needs_cpu and m >= needs_memory:
                free[index] = (c - needs_cpu, m - needs_memory)
                break
        else:
            free.append((cpu - needs_cpu, memory - needs_memory))
    return free
