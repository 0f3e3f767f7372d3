"""The hints name what to change, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.config.lab import ServiceSpec
from ecsconsul.deploy.port_hints import port_hint

PORT = "PortInUse: its program has port 5000 built in and doesn't listen at $PORT, but nginx already listens there"
HOST = "PortInUse: its program wants port 8080 of every address instead of $HOST alone, but nginx already listens there"


@pytest.fixture
def web(tmp_path: Path) -> ServiceSpec:
    """A service with a Dockerfile."""
    (tmp_path / "Dockerfile").write_text('FROM x\nCOPY . .\nENTRYPOINT ["flask"]\nCMD ["run"]\n')
    return ServiceSpec(name="web", port=5000, path=str(tmp_path))


def test_hint_names_the_line_of_the_command(web: ServiceSpec) -> None:
    assert f"$PORT: change the CMD of its Dockerfile ({web.path}/Dockerfile:4)" in port_hint(web, PORT)
    assert "let it listen at $HOST alone" in port_hint(web, HOST)
    assert f"({web.path}/Dockerfile:4)" in port_hint(web, HOST)
    Path(f"{web.path}/Dockerfile").write_text('FROM x\nENTRYPOINT ["flask"]\n')
    assert "Dockerfile:2)" in port_hint(web, PORT)


def test_other_port_mistakes_have_no_line() -> None:
    nowhere = ServiceSpec(name="web", port=5000, path="/nowhere")
    assert "change the CMD of its Dockerfile, or set a command" in port_hint(nowhere, PORT)
    own = ServiceSpec(name="web", port=5000, path="/nowhere", command=("flask", "run"))
    assert "change its `command` in the config" in port_hint(own, PORT)


def test_other_failures_have_no_hint(web: ServiceSpec) -> None:
    assert port_hint(web, "Essential container in task exited") == ""


def test_other_task_of_the_same_service_can_make_room(web: ServiceSpec) -> None:
    assert "`ecsconsul scale web=0`" in port_hint(web, PORT.replace("nginx", "web's task 1a2b"))
