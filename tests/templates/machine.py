"""An EC2 instance made of this machine's namespaces, with its own network, files, processes and Docker engine.

Small scripts stand in for `systemctl` and `dnf`. As on the AMI there is no AWS CLI, wherever this machine has it, until
dnf "installs" this machine's.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docker_engine import base_archive, docker
from tests.templates.vpc import AMAZON_DNS, Vpc

AUTHORITY = "/etc/authority.pem"
BOOT_SECONDS = 180.0
PROGRAM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

# Knows what the scripts do with units: docker.service is a real engine with /etc/docker/daemon.json.
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
end() {
    [ ! -e "/run/$1.pid" ] || kill -- "-$(cat "/run/$1.pid")" 2>/dev/null || true
    rm -f "/run/$1.pid"
}
before_start() {
    cat /etc/systemd/system/docker.service.d/*.conf 2>/dev/null | sed -n 's/^ExecStartPre=//p' | sh -e
}
case "$*" in
"start docker.service") before_start; start ;;
"restart docker.service") stop; before_start; start ;;
"enable --now --no-block ecsconsul-"*)
    unit=${*: -1}
    end "$unit"
    command=$(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$unit")
    setsid $command </dev/null >>"/var/log/$unit.log" 2>&1 &
    echo $! >"/run/$unit.pid"
    ;;
"stop ecsconsul-"*) end "${*: -1}" ;;
esac
"""

# Fails the first time, as mirrors do.
DNF = """#!/bin/bash
set -eu
echo "$*" >>/var/log/dnf.calls
[ "$(wc -l </var/log/dnf.calls)" -gt 1 ]
if [[ "$*" == "install "*" amazon-cloudwatch-agent" ]]; then
    printf '#!/bin/bash\necho "$*" >>/var/log/log-agent.calls\n' >"$(dirname "$0")/amazon-cloudwatch-agent-ctl"
    chmod +x "$(dirname "$0")/amazon-cloudwatch-agent-ctl"
    exit
fi
[[ "$*" == "install "*" awscli-2" ]]
cat >"$(dirname "$0")/aws" <<END
#!/bin/bash
PATH=@PATH@ exec @AWS@ "\\$@"
END
chmod +x "$(dirname "$0")/aws"
"""

# Mounts the instance's own copies of the paths that the scripts write to.
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

# Follows the official image's entrypoint and user ids, with Debian's tools instead of Alpine's.
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
# each engine imports the image, so it leaves out two thirds of the base image
NOT_NEEDED = ("./var/lib/apt/", "./var/cache/", "./var/lib/dpkg/", "./usr/share/", "./usr/lib/x86_64-linux-gnu/gconv/")
IMAGE_CHANGES = ('ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["agent", "-dev"]', "VOLUME /consul/data")


def consul_image(binary: str, authority: Path, archive: Path) -> None:
    """Write an image like the official one, with a real Consul, that trusts the certificate authority."""
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
    """A running instance; its folder holds its /etc, /run and /var/log."""

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
        """The path of one of the instance's files as seen from the test."""
        return self.folder / path.lstrip("/")

    def run(self, *argv: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command as the instance's root, with cloud-init's nearly empty environment."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--"]
        environment = ["env", "-i", f"PATH={self.folder}/bin:{self.folder}/programs", f"AWS_CA_BUNDLE={AUTHORITY}"]
        return subprocess.run([*enter, *environment, *argv], capture_output=True, text=True, timeout=timeout, cwd="/")

    def start_docker(self, archive: Path, image: str) -> None:
        """Start Docker, as the AMI does before it runs user data, and import the image: nothing can be pulled here."""
        done = self.run("systemctl", "start", "docker.service", timeout=120)
        assert done.returncode == 0, (self.folder / "log/dockerd.log").read_text()[-2000:]
        changes = [word for change in IMAGE_CHANGES for word in ("-c", change)]
        docker(self.engine, "import", *changes, str(archive), image, timeout=120)

    def boot(self, user_data: str) -> int:
        """Run user data as cloud-init does; returns its exit code."""
        self.file("/etc/user-data").write_text(user_data)
        try:
            return self.run("bash", "/etc/user-data", timeout=BOOT_SECONDS).returncode
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the boot doesn't end:\n{self.console}") from None


@contextmanager
def machine(vpc: Vpc, name: str, address: str) -> Iterator[Machine]:
    """An instance in the VPC that has not booted yet."""
    # a socket's path is limited to 107 bytes, and pytest's folders are deep
    folder = Path(tempfile.mkdtemp(prefix=f"{vpc.name}-"))
    try:
        with vpc.attached(name, address) as namespace:
            _prepare(folder, vpc)
            unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            enter = ["nsenter", f"--net=/run/netns/{namespace}", "--", *unshare]
            init = subprocess.Popen(
                [*enter, "bash", "-c", INIT, "init", str(folder)], stdout=subprocess.PIPE, text=True, bufsize=1
            )
            assert init.stdout
            try:
                assert init.stdout.readline() == "up\n"
                children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text()
                instance = Machine(namespace, folder, int(children))
                yield instance
                _end_docker(instance)
            finally:
                init.kill()
                init.wait(30)
                init.stdout.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, vpc: Vpc) -> None:
    # the instance mounts its own folder here, and Docker creates it only when it first starts
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
    link_programs(folder / "programs", PROGRAM_FOLDERS, without="aws")
    aws = shutil.which("aws")
    assert aws
    for name, text in (("systemctl", SYSTEMCTL), ("dnf", DNF)):
        script = folder / "bin" / name
        script.write_text(text.replace("@AWS@", aws).replace("@PATH@", os.environ["PATH"]))
        script.chmod(0o755)


def link_programs(into: Path, folders: Iterable[str], *, without: str) -> None:
    """Link to the programs in these folders, except one. As on PATH, the first of each name wins."""
    into.mkdir()
    for program in (path for folder in folders if Path(folder).is_dir() for path in Path(folder).iterdir()):
        link = into / program.name
        if program.name != without and not link.is_symlink():
            link.symlink_to(program)


def _end_docker(machine: Machine) -> None:
    """Remove the containers first: those of a killed engine would stay mounted and keep their control groups."""
    if containers := docker(machine.engine, "ps", "-aq").split():
        docker(machine.engine, "rm", "-f", *containers)
    pid = (machine.folder / "run/docker.pid").read_text()
    machine.run("kill", pid)
