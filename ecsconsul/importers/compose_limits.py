"""What a compose service may use and how it is watched: size, limits, health check, labels and log."""

from __future__ import annotations

from typing import Any

from .compose_values import duration, mebibytes, pairs, seconds
from .document import Fields, Node
from .draft import Draft

CORE = 1024  # CPU units
_LOG_DRIVERS = ("awslogs", "fluentd", "gelf", "journald", "json-file", "splunk", "syslog")


def put_health(draft: Draft, fields: Fields) -> None:
    """Takes the health check, within ECS's limits."""
    node = fields.take("healthcheck")
    if node is None:
        return
    inner = Fields(node, draft.lose)
    test, disabled = inner.take("test"), inner.take("disable")
    words: Any = test.texts() if test and test.kind == "list" else test.text() if test else None
    if (disabled and disabled.flag()) or words in (["NONE"], "NONE", None):
        draft.lose(node, "without `health_check` ECS makes none but that of `check`")
        return
    if not words or (isinstance(words, list) and words[0] not in ("CMD", "CMD-SHELL")):
        raise node.wrong("a test that begins with CMD, CMD-SHELL or NONE, or a text")
    check: dict[str, Any] = {"command": _test(words)}
    for key, low, high in (("interval", 5, 300), ("timeout", 2, 60), ("start_period", 0, 300)):
        if (value := inner.take(key)) is not None and (given := seconds(value)) > 0:
            check[key] = duration(min(max(given, low), high))
            if not low <= given <= high:
                draft.note(f"health_check.{key}", f"was {value.text()}; ECS allows {low} to {high} s")
    if (value := inner.take("retries")) is not None:
        check["retries"] = min(max(value.whole(), 1), 10)
        if check["retries"] != value.whole():
            draft.note("health_check.retries", f"was {value.text()}; ECS allows 1 to 10")
    inner.lose("start_interval", "ECS checks at the same interval from the start on")
    inner.close()
    draft.put("health_check", check)


def _test(words: Any) -> Any:
    """The command of a health check: a text is for the shell, a list is run without one."""
    if isinstance(words, str):
        return words.strip()
    if words[0] == "CMD-SHELL":
        return " ".join(words[1:]).strip()
    return words[1:]


def put_limits(draft: Draft, fields: Fields) -> None:
    """Takes ulimits, labels, the time to stop, and where the log goes."""
    ulimits: dict[str, Any] = {}
    for name, node in (found.fields() if (found := fields.take("ulimits")) else {}).items():
        if node.kind == "map":
            inner = Fields(node, draft.lose)
            soft, hard = inner.take("soft"), inner.take("hard")
            inner.close()
            one = soft or hard or node
            ulimits[name] = {"soft": one.whole(), "hard": (hard or one).whole()}
        else:
            ulimits[name] = node.whole()
    draft.put("ulimits", ulimits)
    labels = fields.take("labels")
    draft.put("labels", {k: "" if v.kind == "null" else v.text() for k, v in (pairs(labels) if labels else {}).items()})
    if (grace := fields.take("stop_grace_period")) is not None:
        draft.put("stop_timeout", duration(seconds(grace)))
    if (logging := fields.take("logging")) is not None:
        _log(draft, logging)


def _log(draft: Draft, node: Node) -> None:
    inner = Fields(node, draft.lose)
    driver, options = inner.take("driver"), inner.take("options")
    name = driver.text() if driver else "json-file"
    inner.close()
    if name not in _LOG_DRIVERS:
        draft.lose(node, f"ECS knows {', '.join(_LOG_DRIVERS)}")
        return
    found = {key: one.text() for key, one in options.fields().items()} if options else {}
    draft.put("log", {"driver": name, **({"options": found} if found else {})})
    draft.note("log", "without `log` the lab keeps the output, and `ecsconsul logs` shows it in AWS too")


def put_size(draft: Draft, fields: Fields) -> None:
    """Takes CPU and memory, of the limits or else of what is reserved."""
    deploy = fields.take_inside("deploy", "resources")
    limits = reserved = None
    if deploy is not None:
        inner = Fields(deploy, draft.lose)
        limits, reserved = inner.take("limits"), inner.take("reservations")
        inner.close()
    cpus, memory = _resources(draft, fields, limits, reserved)
    if cpus is not None:
        draft.put("cpu", max(1, round(cpus)))
    if memory is not None:
        draft.put("memory", max(4, memory))


def _resources(
    draft: Draft, fields: Fields, limits: Node | None, reserved: Node | None
) -> tuple[float | None, int | None]:
    """CPU units and MiB: of the limits, else of what is reserved."""
    cpus: list[tuple[Node, float]] = []
    memory: list[tuple[Node, int]] = []
    plain = [(fields.take("cpus"), CORE), (fields.take("cpu_shares"), 1)]
    sizes = [fields.take("mem_limit"), fields.take("mem_reservation")]
    for part in (limits, reserved):
        if part is not None:
            inner = Fields(part, draft.lose)
            plain.append((inner.take("cpus"), CORE))
            sizes.insert(-1, inner.take("memory"))
            inner.lose("devices generic_resources", "ecsconsul has no key for GPUs and other devices")
            inner.lose("pids", "ecsconsul has no key for it: a task has `cpu` and `memory`, and no other limit")
            inner.close()
    cpus = [(node, node.number() * unit) for node, unit in plain if node is not None and node.number() > 0]
    memory = [(node, mebibytes(node)) for node in sizes if node is not None and node.text() != "0"]
    for node, _ in cpus[1:] + memory[1:]:
        draft.lose(node, "a container has one `cpu` and one `memory`, and this isn't the one that limits it")
    if cpus:
        draft.note("cpu", "in ECS it's a share that is always there; what is idle may be used too")
    return cpus[0][1] if cpus else None, memory[0][1] if memory else None
