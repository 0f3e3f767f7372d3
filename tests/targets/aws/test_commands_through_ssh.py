"""`status` and `dig` as a user types them, through SSH to a server where Consul listens on loopback.

The server is a network namespace: Consul has its usual ports in it, and a ProxyCommand starts sshd in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ecsconsul.aws_tags import LAB_TAG
from ecsconsul.targets.aws.ec2 import SERVER_TAG
from tests.consul_server import consul_binary
from tests.require import require
from tests.ssh_server import SSHD, USER, ssh_server

SERVICE = 'service { name = "weather" port = 4567 }'
SERVER_TAGS = [{"Key": SERVER_TAG, "Value": "blue"}]
TEMPLATE = {
    "Resources": {
        "Server": {"Type": "AWS::EC2::Instance", "Properties": {"ImageId": "ami-12c6146b", "Tags": SERVER_TAGS}}
    },
    "Outputs": {"ConsulServer": {"Value": {"Ref": "Server"}}},
}


@pytest.fixture(scope="module")
def namespace() -> Iterator[int]:
    """The process id of a Consul agent in its own network namespace."""
    able = os.geteuid() == 0 and all(shutil.which(name) for name in ("unshare", "nsenter", "ip"))
    require("root", able and _may_unshare(), "network namespaces need root")
    agent = f"exec {consul_binary()} agent -dev -bind=127.0.0.1 -node=i-0a1b -disable-host-node-id -hcl='{SERVICE}'"
    argv = ["unshare", "--net", "sh", "-c", f"ip link set lo up && {agent}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        output = []
        for line in process.stdout:
            output.append(line)
            if "Synced service" in line:
                break
        assert process.poll() is None, "".join(output)
        # nobody reads the pipe from now on; it holds more than the agent will write
        yield process.pid
        process.kill()


def _may_unshare() -> bool:
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, timeout=60).returncode == 0


@pytest.fixture
def config(namespace: int, account: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config of a lab whose stack has a server that the user's ssh can reach."""
    tags = [{"Key": LAB_TAG, "Value": "blue"}]
    account("cloudformation").create_stack(StackName="blue", TemplateBody=json.dumps(TEMPLATE), Tags=tags)
    with ssh_server(tmp_path / "sshd") as server:
        pass
    proxy = f"nsenter --net=/proc/{namespace}/ns/net {SSHD} -i -f {server.key.parent / 'sshd_config'}"
    (tmp_path / "ssh_config").write_text(f"Host front\n  ProxyCommand {proxy}\n")
    script = tmp_path / "bin" / "ssh"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path / "ssh_config"} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    aws = {"ssh": {"host": "front", "user": USER, "key": str(server.key)}}
    path = tmp_path / "config.yaml"
    # JSON is YAML
    services = {"weather": {"path": "lab:weather"}}
    path.write_text(json.dumps({"lab": "blue", "target": "aws", "aws": aws, "services": services}))
    return path


def run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ecsconsul", *words, "-c", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_dig_and_status_reach_consul_through_ssh(config: Path) -> None:
    done = run(config, "dig", "weather", "--output", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rcode"], found["transport"]) == ("NOERROR", "tcp")
    assert [answer["port"] for answer in found["answers"]] == [4567]
    assert "on first use" in done.stderr

    done = run(config, "dig", "wether")
    assert done.returncode == 1
    assert "weather" in done.stderr and "on first use" not in done.stderr

    done = run(config, "status", "--output", "json")
    found = json.loads(done.stdout)["consul"]
    assert [(member["name"], member["status"]) for member in found["members"]] == [("i-0a1b", "alive")]
    assert found["leader"] == "127.0.0.1:8300"

    left = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert [words for words in left if str(config.parent / "sshd" / "user_key") in words] == [], "no tunnel is left"
