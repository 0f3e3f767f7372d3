"""Mistakes that only several keys together show stand at the key that causes them."""

from pathlib import Path

import pytest

from ecsconsul.config import loader as config

SIDE = "side: {image: x, essential: false}"


def found(text: str) -> list[str]:
    """The mistakes of services in flow style, as `path: message`; empty for none."""
    try:
        config.parse(f"instances: 2\nservices: {{{text}}}\n".encode(), "config.yaml", Path("/"), sources=False)
    except config.ConfigMistakes as error:
        return [f"{one.path.removeprefix('services.')}: {one.message}" for one in error.mistakes]
    return []


@pytest.mark.parametrize(
    "text",
    [
        f"web: {{path: a, depends_on: {{side: SUCCESS}}, containers: {{{SIDE}}}}}",
        f"web: {{path: a, depends_on: {{side: COMPLETE}}, links: [side], containers: {{{SIDE}}}}}",
        "web: {path: a, check: /h, containers: {side: {image: x, depends_on: {web: HEALTHY}}}}",
        "web: {path: a, schedule: daemon, host_port: 80}",
        "web: {path: a, ports: [{port: 53, host_port: 5353}, {port: 53, host_port: 5353, protocol: udp, name: web}]}",
        "web: {path: a, ports: [80], containers: {side: {image: x, ports: [80]}}}",
        "web: {path: a, volumes: [{name: v, path: /a, host: /x}], containers: {side: {image: x, volumes: ['v:/b']}}}",
        "web: {path: a, volumes: [{name: v, path: /a, efs: fs-01234567, root: /, access_point: fsap-01234567}]}",
        "web: {path: a, ports: [{port: 1, protocol: udp, check: {ttl: 10s}}]}",
        "web: {path: a}, api: {path: a, ports: [{port: 1, name: web, register: false}]}",
    ],
)
def test_right(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("web: {path: a, ports: [1], check: /x}", "web.check: not allowed with ports; move it to the entry"),
        ("web: {path: a, schedule: daemon, count: 2}", "web.count: not allowed with schedule: daemon"),
        ("web: {path: a, containers: {web: {image: x}}}", "web.containers.web: the main container has this name"),
        ("web: {path: a, secrets: {A: b}, environment: {A: c}}", "web.secrets.A: also set by environment or env_file"),
        ("web: {path: a, ports: [1, 1]}", "web.ports[1]: 1/tcp is given twice, first as services.web.ports[0]"),
        (
            "web: {path: a, ports: [{port: 1, protocol: udp, check: /}]}",
            "web.ports[0].check: Consul can't check a UDP port; use ttl",
        ),
        (
            "web: {path: a, volumes: ['a:/x', 'b:/x/']}",
            "web.volumes[1]: /x/ is given twice, first as services.web.volumes[0]",
        ),
        (
            "web: {path: a, depends_on: [sied], containers: {side: {image: x}}}",
            "web.depends_on: the task has no container",
        ),
        ("web: {path: a, links: [web]}", "web.links: links names the container itself"),
        (
            "web: {path: a, depends_on: {side: SUCCESS}, containers: {side: {image: x}}}",
            "web.depends_on.side: SUCCESS waits for the end of side, which is essential",
        ),
        (
            f"web: {{path: a, depends_on: {{side: HEALTHY}}, containers: {{{SIDE}}}}}",
            "web.depends_on.side: HEALTHY needs a health check: give side a health_check",
        ),
        (
            "web: {path: a, check: {http: /, container: no}, containers: {s1: {image: x, depends_on: {web: HEALTHY}}}}",
            "web.containers.s1.depends_on.web: HEALTHY needs a health check",
        ),
        (
            "web: {path: a, depends_on: [side], containers: {side: {image: x, links: [web]}}}",
            "web.depends_on: these containers wait for one another: ",
        ),
        (
            "web: {path: a, volumes: [{name: v, path: /a, host: /x}],"
            " containers: {side: {image: x, volumes: [{name: v, path: /b, host: /y}]}}}",
            "web.containers.side.volumes[0]: the volume v is something else in services.web.volumes[0]",
        ),
        (
            "web: {path: a, volumes: [{name: v, path: /a, host: /x, efs: fs-01234567}]}",
            "web.volumes[0].efs: not allowed with host",
        ),
        ("web: {path: a, volumes: [{name: v, path: /a, root: /x}]}", "web.volumes[0].root: only for a volume in EFS"),
        (
            "web: {path: a, volumes: [{name: v, path: /a, efs: fs-01234567, root: /x, access_point: fsap-01234567}]}",
            "web.volumes[0].root: not allowed with access_point",
        ),
        (
            "web: {path: a, host_port: 80},"
            " api: {path: a, containers: {x1: {image: x, ports: [{port: 1, host_port: 80}]}}}",
            "api.containers.x1.ports[0].host_port: 80 is also services.web.host_port on line 2",
        ),
        (
            "web: {path: a, ports: [{port: 1, host_port: 8500}]}",
            "web.ports[0].host_port: 8500 is taken on every instance",
        ),
        (
            "web: {path: a, count: 3, ports: [1, {port: 2, host_port: 80}]}",
            "web.ports[1].host_port: only one task per instance can use 80; count is 3, instances is 2",
        ),
        (
            "web: {path: a, ports: [1, {port: 2, check: {ttl: 10s}}]}",
            "web.ports[1].check: a ttl needs the name web, which is all that the task's token may report",
        ),
        ("web: {path: a, ports: [{port: 1, name: consul}]}", "web.ports[0].name: the name is taken by Consul's own"),
        (
            "web: {path: a}, api: {path: a, ports: [1, {port: 2, name: web}]}",
            "api.ports[1].name: web is a name of the service web",
        ),
        (
            "web: {path: a, containers: {x1: {path: b}}}, web-x1: {path: a}",
            "web.containers.x1: its image would be called web-x1",
        ),
    ],
)
def test_mistakes(text, mistake):
    [one] = found(text)
    assert one.startswith(mistake)
