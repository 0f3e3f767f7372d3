"""An EC2 instance as namespaces of this machine: network, files, processes and Docker engine of its own, like the AMI.

Only `systemctl` and `dnf` are stood in for, by small scripts on PATH; dnf "installs" the AWS CLI of this machine.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docker_engine import base_archive, docker
from tests.templates.vpc import AMAZON_DNS, Vpc

AUTHORITY = "/etc/authority.pem"
BOOT_SECONDS = 180.0

# A unit is known by what the scripts ask of it: docker.service runs a real engine with /etc/docker/daemon.json.
SYSTEMCTL = """#!/bin/bash
set -eu
echo "$*" >>/var/log/systemctl.calls
start() {
    ! docker version >/dev/null 2>&1 || return 0
    setsid dockerd </dev/null >>/var/log/dockerd.log 2>&1 &
    for _ in {1..600}; do
        ! docker version >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    exit 1
}
stop() {
    kill "$(cat /run/docker.pid)"
    for _ in {1..400}; do
        [ -e /run/docker.pid ] || return 0
        sleep 0.1
    done
    exit 1
}
case "$*" in
"start docker.service") start ;;
"restart docker.service") stop && start ;;
esac
"""

# Mirrors hiccup: the first time it fails.
DNF = """#!/bin/bash
set -eu
echo "$*" >>/var/log/dnf.calls
[ "$(wc -l </var/log/dnf.calls)" -gt 1 ]
[[ "$*" == "install "*" awscli-2" ]]
cat >"$(dirname "$0")/aws" <<END
#!/bin/bash
PATH=@PATH@ exec @AWS@ "\\$@"
END
chmod +x "$(dirname "$0")/aws"
"""

# What the AMI has of the paths that the scripts touch, and what must not be shared with this machine.
INIT = """
set -eu
cd "$1"
mount --bind etc /etc
mount --bind run /run
mount --bind log /var/log
mount --bind docker /var/lib/docker
mount --bind console /dev/console
echo up
while :; do sleep 1000 & wait "$!"; done
"""

# The conventions of the official image's entrypoint, and its ids, with Debian's tools in place of Alpine's.
ENTRYPOINT = """#!/bin/sh
set -e
if [ "$1" = agent ]; then
    shift
    set -- consul agent -data-dir=/consul/data -config-dir=/consul/config "$@"
fi
if [ "$1" = consul ]; then
    for folder in /consul/data /consul/config; do
        [ "$(stat -c %u "$folder")" = 100 ] || chown 100:1000 "$folder"
    done
    port=""
    [ -z "${CONSUL_ALLOW_PRIVILEGED_PORTS+x}" ] || port="--inh-caps=+net_bind_service --ambient-caps=+net_bind_service"
    exec setpriv --reuid=100 --regid=1000 --clear-groups $port "$@"
fi
exec "$@"
"""
# each engine imports the image, so two thirds of the base image stay away
NOT_NEEDED = ("./var/lib/apt/", "./var/cache/", "./var/lib/dpkg/", "./usr/share/", "./usr/lib/x86_64-linux-gnu/gconv/")
IMAGE_CHANGES = ('ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["agent", "-dev"]', "VOLUME /consul/data")


def consul_image(binary: str, authority: Path, archive: Path) -> None:
    """Write an image archive with a real Consul, as the official image has it, which trusts that authority."""
    with tarfile.open(base_archive()) as base, tarfile.open(archive, "w") as tar:
        for entry in base:
            if not entry.name.startswith(NOT_NEEDED):
                tar.addfile(entry, base.extractfile(entry) if entry.isreg() else None)
        _add(tar, "etc/ssl/certs/ca-certificates.crt", authority.read_bytes())
        _add(tar, "usr/local/bin/docker-entrypoint.sh", ENTRYPOINT.encode(), mode=0o755)
        for folder in ("consul", "consul/data", "consul/config"):
            _add(tar, folder, b"", mode=0o755, kind=tarfile.DIRTYPE)
        _add(tar, "usr/local/bin/consul", Path(binary).read_bytes(), mode=0o755)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644, kind: bytes = tarfile.REGTYPE) -> None:
    entry = tarfile.TarInfo(f"./{name}")
    entry.size, entry.mode, entry.type = len(content), mode, kind
    tar.addfile(entry, io.BytesIO(content))


@dataclass
class Machine:
    """A running instance; what it sees at /etc, /run and /var/log is in its folder."""

    namespace: str
    folder: Path
    init: int

    @property
    def engine(self) -> str:
        """The URL of its Docker engine."""
        return f"unix://{self.folder}/run/docker.sock"

    @property
    def console(self) -> str:
        return (self.folder / "console").read_text()

    def systemctl_calls(self) -> list[str]:
        return (self.folder / "log/systemctl.calls").read_text().splitlines()

    def file(self, path: str) -> Path:
        """Where a file of /etc lies for this machine's other processes."""
        return self.folder / path.lstrip("/")

    def run(self, *argv: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command as root of the instance, with the environment that cloud-init gives it: next to none."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--"]
        path = f"{self.folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        bare = ["env", "-i", f"PATH={path}", f"AWS_CA_BUNDLE={AUTHORITY}"]
        return subprocess.run([*enter, *bare, *argv], capture_output=True, text=True, timeout=timeout, cwd="/")

    def start_docker(self, archive: Path, image: str) -> None:
        """As the AMI does before user data, and with the image at hand: nothing can be pulled here."""
        done = self.run("systemctl", "start", "docker.service", timeout=120)
        assert done.returncode == 0, (self.folder / "log/dockerd.log").read_text()[-2000:]
        changes = [word for change in IMAGE_CHANGES for word in ("-c", change)]
        docker(self.engine, "import", *changes, str(archive), image, timeout=120)

    def boot(self, user_data: str) -> int:
        """Run it as cloud-init does; its exit code."""
        self.file("/etc/user-data").write_text(user_data)
        try:
            return self.run("bash", "/etc/user-data", timeout=BOOT_SECONDS).returncode
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it boots for ever:\n{self.console}") from None


@contextmanager
def machine(vpc: Vpc, name: str, address: str) -> Iterator[Machine]:
    """An instance in the VPC, nothing booted on it yet."""
    # the path of a socket may have 107 letters, and pytest's folders are deep
    folder = Path(tempfile.mkdtemp(prefix=f"{vpc.name}-"))
    try:
        with vpc.attached(name, address) as namespace:
            _furnish(folder, vpc)
            unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            enter = ["nsenter", f"--net=/run/netns/{namespace}", "--", *unshare]
            init = subprocess.Popen(
                [*enter, "bash", "-c", INIT, "init", str(folder)], stdout=subprocess.PIPE, text=True, bufsize=1
            )
            assert init.stdout
            try:
                assert init.stdout.readline() == "up\n"
                children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text()
                made = Machine(namespace, folder, int(children))
                yield made
                _end_docker(made)
            finally:
                init.kill()
                init.wait(30)
                init.stdout.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _furnish(folder: Path, vpc: Vpc) -> None:
    # what the machine mounts its own over must be there, and Docker makes it at its first start only
    Path("/var/lib/docker").mkdir(mode=0o710, exist_ok=True)
    for name in ("run", "log", "docker", "bin"):
        (folder / name).mkdir()
    (folder / "console").touch()
    shutil.copytree("/etc", folder / "etc", symlinks=True)
    (folder / "etc/ecs").mkdir()
    resolv = folder / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.write_text(f"nameserver {AMAZON_DNS}\n")
    (folder / "etc/docker").mkdir(exist_ok=True)
    (folder / "etc/docker/daemon.json").write_text('{"userland-proxy": false}\n')
    shutil.copyfile(vpc.authority, folder / "etc/authority.pem")
    aws = shutil.which("aws")
    assert aws
    for name, text in (("systemctl", SYSTEMCTL), ("dnf", DNF)):
        script = folder / "bin" / name
        script.write_text(text.replace("@AWS@", aws).replace("@PATH@", os.environ["PATH"]))
        script.chmod(0o755)


def _end_docker(machine: Machine) -> None:
    """Its containers first: what a killed engine leaves would stay mounted and in the kernel's control groups."""
    if left := docker(machine.engine, "ps", "-aq").split():
        docker(machine.engine, "rm", "-f", *left)
    pid = (machine.folder / "run/docker.pid").read_text()
    machine.run("kill", pid)
