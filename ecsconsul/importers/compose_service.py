"""One service of a compose file: each of its keys is taken, or named with the reason why it isn't.

https://docs.docker.com/reference/compose-file/services/
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from .compose_limits import put_health, put_limits, put_size
from .compose_storage import Storage, put_volumes
from .compose_values import Port, merged_ports, pairs, ports
from .document import Fields, Node
from .draft import ServiceDraft, put_ports
from .files import Files
from .interpolation import read_env
from .well_known import known

# why a key isn't taken; the keys of one reason are separated by spaces
_REASONS = {
    "ecsconsul has no key for it: a task runs without further rights, devices or kernel settings": (
        "cap_add cap_drop privileged devices device_cgroup_rules security_opt userns_mode sysctls group_add"
        " credential_spec cgroup cgroup_parent read_only init isolation runtime use_api_socket"
    ),
    "ecsconsul has no key for it: a task has `cpu` and `memory`, and no other limit": (
        "blkio_config cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpuset mem_swappiness"
        " memswap_limit oom_kill_disable oom_score_adj pids_limit shm_size storage_opt"
    ),
    "a task has a network and namespaces of its own, which ECS arranges": (
        "dns dns_opt dns_search domainname extra_hosts external_links ipc mac_address pid uts"
    ),
    "it's for work at a terminal; `ecsconsul exec` runs a command in a task": "stdin_open tty attach",
    "ecsconsul has no key for GPUs": "gpus",
    "ecsconsul has no hooks": "post_start pre_stop",
    "ECS decides when an image is pulled: whenever a task starts": "pull_policy pull_refresh_after",
    "ecsconsul has no key for it: run `ecsconsul up` after a change": "develop",
    "ecsconsul has no key for it; `labels` holds the container's labels": "annotations label_file",
    "images are for the architecture of the instances (aws.instance_type)": "platform",
    "ECS sends SIGTERM, or what the image's STOPSIGNAL says": "stop_signal",
    "only compose runs it": "provider models",
}


@dataclass(frozen=True)
class Context:
    """What a service is read with."""

    files: Files
    environment: dict[str, str]
    storage: Storage


def read_service(draft: ServiceDraft, node: Node, context: Context) -> None:
    """Fills a draft from a service. Raises LabError for values that compose refuses too."""
    fields = Fields(node, draft.lose)
    _image(draft, fields, context)
    _program(draft, fields)
    _ports(draft, fields, context)
    put_size(draft, fields)
    _environment(draft, fields, context)
    put_volumes(draft, fields, context.storage)
    put_health(draft, fields)
    put_limits(draft, fields)
    _scale(draft, fields)
    _names(draft, fields)
    _neighbours(draft, fields)
    for why, keys in _REASONS.items():
        fields.lose(keys, why)
    fields.close()


def _image(draft: ServiceDraft, fields: Fields, context: Context) -> None:
    image, build = fields.take("image"), fields.take("build")
    if build is not None and image is not None and not _has_dockerfile(build, context):
        draft.lose(build, "its folder has no Dockerfile, so the image is taken as it is")
        draft.put("image", image.text().strip())
    elif build is not None:
        _build(draft, build, context)
        if image is not None:
            draft.lose(image, "ecsconsul names the image that it builds itself")
    elif image is not None:
        name = image.text().strip()
        draft.put("image", name.rstrip(":@"))
        if name != name.rstrip(":@"):
            draft.note("image", f"{name} has no tag here, because its variable isn't set")
    else:
        draft.note("", "has neither image nor build; add `image` or `path`, a folder with a Dockerfile")


def _has_dockerfile(build: Node, context: Context) -> bool:
    """Whether there is something to build; a Dockerfile with another name counts, for the user to rename."""
    given = build.fields() if build.kind == "map" else {"context": build}
    folder, file = given.get("context"), given.get("dockerfile")
    names = (folder.text() if folder else ".", file.text() if file else "Dockerfile")
    return "dockerfile_inline" in given or context.files.text("/".join(names)) is not None


def _build(draft: ServiceDraft, build: Node, context: Context) -> None:
    if build.kind != "map":
        _path(draft, build, build.text(), context)
        return
    fields = Fields(build, draft.lose)
    given = fields.take("context")
    dockerfile = fields.take("dockerfile")
    _path(draft, given or build, given.text() if given else ".", context)
    if dockerfile is not None and dockerfile.text() not in ("Dockerfile", "./Dockerfile"):
        draft.lose(dockerfile, "the file must be called Dockerfile and lie in the folder of `path`: copy or link it")
    fields.lose("target", "the last stage is built: make this stage the last one, or a Dockerfile of its own")
    fields.lose("args", "only BASE is passed to builds (`base_image`): give the ARG this default in the Dockerfile")
    fields.close("ecsconsul has no key for it; images are built from the folder and its Dockerfile alone")


def _path(draft: ServiceDraft, node: Node, path: str, context: Context) -> None:
    if "://" in path or path.startswith("git@"):
        draft.lose(node, "a service is built from a folder on this machine: clone it")
        return
    draft.put("path", context.files.for_config(path))
    if context.files.text(f"{path}/Dockerfile") is None:
        draft.note("path", "there is no Dockerfile in this folder: `ecsconsul up` needs one")


def _program(draft: ServiceDraft, fields: Fields) -> None:
    for key, ours in (("entrypoint", "entry_point"), ("command", "command")):
        node = fields.take(key)
        if node is None:
            continue
        words = node.texts() if node.kind == "list" else _split(node)
        if not words or words == [""]:
            draft.lose(node, "an empty one can't replace the image's own")
        elif node.kind == "list" or "\n" in node.text().strip():
            draft.put(ours, words)
        else:
            draft.put(ours, node.text().strip())
    if node := fields.take("working_dir"):
        draft.put("working_directory", node.text())
    if node := fields.take("user"):
        draft.put("user", node.text())


def _split(node: Node) -> list[str]:
    try:
        return shlex.split(node.text())
    except ValueError as error:
        raise node.wrong(f"words that a shell could split ({error})") from error


def _ports(draft: ServiceDraft, fields: Fields, context: Context) -> None:
    published, exposed = fields.take("ports"), fields.take("expose")
    found = [one for node in (published.items() if published else ()) for one in ports(node, draft)]
    found += [one for node in (exposed.items() if exposed else ()) for one in ports(node, draft)]
    if not found:
        found = _guessed(draft, context)
    put_ports(draft, [one.entry() for one in merged_ports(found)])
    if not found:
        draft.note("ports", "no port is known, so nothing is registered in Consul; if it listens, replace by port: N")
    for one in found:
        if one.host_port and one.host_port < 1024:
            draft.note("host_port" if "host_port" in draft.keys else "ports",
                       f"{one.host_port} is below 1024: on this machine that may need root")  # fmt: skip


def _guessed(draft: ServiceDraft, context: Context) -> list[Port]:
    """The ports that compose needn't know, because every port is open between its services."""
    if "path" in draft.keys:
        dockerfile = f"{context.files.config_folder / draft.keys['path']}/Dockerfile"
        found = [Port(number, None, protocol) for number, protocol in context.files.exposed(dockerfile)]
        source = "from EXPOSE in its Dockerfile"
    else:
        port = known(draft.keys.get("image", "")).port
        found = [Port(port, None, "tcp")] if port else []
        source = "the image's usual one, because the compose file names none"
    if found:
        draft.note("port" if len(found) == 1 else "ports", source)
    return found


def _environment(draft: ServiceDraft, fields: Fields, context: Context) -> None:
    found: dict[str, str] = {}
    env_files = fields.take("env_file")
    entries = env_files.items() if env_files and env_files.kind == "list" else [env_files] if env_files else []
    for entry in entries:
        _env_file(draft, entry, found, context)
    node = fields.take("environment")
    for name, value in (pairs(node) if node else {}).items():
        if value.kind != "null":
            found[name] = value.text()
        elif name in context.environment:
            found[name] = context.environment[name]
            draft.note(f"environment.{name}", "the value that it had in the shell of the import")
        else:
            draft.lose(Node("str", "", value.path, value.file, value.line), "it isn't set in this shell or in .env")
    draft.put("environment", found)


def _env_file(draft: ServiceDraft, node: Node, found: dict[str, str], context: Context) -> None:
    path, required = node, True
    if node.kind == "map":
        fields = Fields(node, draft.lose)
        given, needed, form = fields.take("path"), fields.take("required"), fields.take("format")
        if given is None:
            raise node.wrong("an env_file with `path`")
        path, required = given, needed.flag() if needed else True
        if form is not None:
            draft.note("env_file", f"its format was {form.text()}; here values are taken as they stand")
        fields.close()
    text = context.files.text(path.text())
    if text is None:
        why = "there is no such file" + ("" if required else ", which compose permits")
        draft.lose(path, f"{why}; once there is one, write env_file: [{context.files.for_config(path.text())}]")
        return
    draft.keys.setdefault("env_file", []).append(context.files.for_config(path.text()))
    _env_differences(draft, text, path.text(), found, context)


def _env_differences(draft: ServiceDraft, text: str, file: str, found: dict[str, str], context: Context) -> None:
    """Takes the values of an env file that compose reads otherwise than Docker's --env-file: quotes, variables."""
    parsed = read_env(text, context.environment)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    plain = all(line == line.lstrip() and "=" in line and not line.startswith("export ") for line in lines)
    raw = dict(line.partition("=")[::2] for line in lines)
    different = {name: value for name, value in parsed.items() if value is not None and raw.get(name) != value}
    if not plain or any(value.count("\n") for value in different.values()):
        draft.keys["env_file"].pop()
        different = {name: value for name, value in parsed.items() if value is not None}
        draft.note("environment", f"with the values of {file}, whose lines aren't all NAME=VALUE, as `env_file` needs")
    elif different:
        names = ", ".join(different)
        draft.note(
            "environment", f"{names}: from {file} too, where they have quotes or variables, which only compose reads"
        )
    if not draft.keys["env_file"]:
        del draft.keys["env_file"]
    found.update(different)


def _scale(draft: ServiceDraft, fields: Fields) -> None:
    deploy = fields.take("deploy")
    inner = Fields(deploy, draft.lose) if deploy is not None else None
    replicas, scale = inner.take("replicas") if inner else None, fields.take("scale")
    count = scale or replicas
    if scale is not None and replicas is not None:
        draft.lose(replicas, "`scale` says another number")
    if inner is not None:
        _deploy(draft, inner)
    if count is not None and draft.is_daemon:
        draft.lose(count, "a daemon runs one task on each instance")
    elif count is not None and count.whole() != 1:
        draft.put("count", count.whole())
    if (profiles := fields.take("profiles")) is not None and not draft.is_daemon:
        draft.put("count", 0)
        draft.note("count", f"in compose it runs with the profile {', '.join(profiles.texts())} only; here: scale it")
    elif profiles is not None:
        draft.lose(profiles, "a daemon always runs")
    restart = fields.take("restart")
    if restart is not None and restart.text() not in ("always", "unless-stopped"):
        draft.lose(restart, "ECS always replaces a task that ends; for a task that runs once, set count: 0 and use"
                   f" `ecsconsul run {draft.name}`")  # fmt: skip
    elif restart is not None:
        draft.note("", f"restart: {restart.text()} is what ECS does with every task")


def _deploy(draft: ServiceDraft, inner: Fields) -> None:
    if (mode := inner.take("mode")) is not None and mode.text() == "global":
        draft.put("schedule", "daemon", "mode: global in compose")
    elif mode is not None and mode.text() != "replicated":
        draft.lose(mode, "a task that runs once isn't a service: set count: 0 and use `ecsconsul run`")
    inner.lose("restart_policy", "ECS always replaces a task that ends")
    inner.lose(
        "update_config rollback_config", "ecsconsul's deployments start new tasks first, and roll back by themselves"
    )
    inner.lose("placement", "ECS spreads tasks over zones and instances")
    inner.lose("endpoint_mode", "Consul's DNS answers with the addresses of all tasks")
    inner.lose("labels", "an ECS service has the lab's own tags")
    inner.close()


def _names(draft: ServiceDraft, fields: Fields) -> None:
    for key in ("container_name", "hostname"):
        if (node := fields.take(key)) is not None:
            draft.aliases.add(node.text())
            draft.lose(node, f"its name in Consul is {draft.name}.service.consul")
    networks = fields.take("networks")
    if networks is not None and networks.kind == "map":
        for one in networks.fields().values():
            if one.kind == "map" and "aliases" in one.fields():
                draft.aliases |= set(one.fields()["aliases"].texts())
    if networks is not None:
        draft.lose(networks, "a lab has one network, in which all services reach each other")
    mode = fields.take("network_mode")
    if mode is not None and mode.text() != "bridge":
        draft.lose(mode, "tasks are in ECS's bridge network; host ports are in `host_port`")
    elif mode is not None:
        draft.note("", "network_mode: bridge is what every task has")


def _neighbours(draft: ServiceDraft, fields: Fields) -> None:
    links = fields.take("links")
    for text in links.texts() if links is not None else ():
        draft.links.append(text)
    if links is not None:
        draft.lose(links, "`links` is for containers of one task; services find each other by Consul, see the notes")
    depends = fields.take("depends_on")
    if depends is not None:
        draft.lose(
            depends,
            "`depends_on` is for containers of one task; services start together, so a program that needs another"
            " tries again until Consul knows it (or ends, and ECS starts it again)",
        )
