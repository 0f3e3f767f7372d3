"""A service's check as a health check of its container, which ECS waits for in deployments.

A task counts as healthy once its containers' checks pass; without one, 40 seconds after it runs:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
The command runs inside the container, with whatever client its image has, and an image without any is judged by its
listening port alone.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ..config.container_spec import Check, PortSpec
from ..config.scalars import seconds_of

# seconds and a number, each with its least and most: these and their meaning are in
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
INTERVAL, TIMEOUT, START_PERIOD, RETRIES = (5, 300), (2, 60), (0, 300), 3
# what Consul allows a check that sets no timeout, in seconds
DEFAULT_TIMEOUT = "10s"
# a program has at least a minute to come up, and six intervals where checks are rare, before failures count
LEAST_START, START_INTERVALS = 60, 6
# between the client's own timeout and ECS's, in seconds: an interpreter needs time to start where CPU is scarce
MARGIN = 5

# The kernel lists the network's listening sockets first, with addresses and ports in hexadecimal. Docker forwards to
# the container's IPv4 address, and so does this: to loopback where all addresses are listened to, or else to the one
# that is. What listens to IPv6 alone can't be reached by Consul either. Without these files nothing is known. The local
# region's processes have no network of their own: variables say at which address and port of the machine they listen.
_ADDRESS = """\
h=; r=; n=${{ECSCONSUL_PORT_{number}-{number}}};
x=${{ECSCONSUL_HEX_PORT_{number}-{port}}}; m=${{ECSCONSUL_HEX_ADDRESS-????????}};
for f in /proc/net/tcp /proc/net/tcp6; do
[ -z "$h" ] && [ -r "$f" ] || continue; r=1;
while read -r _ l _ s _; do
case $s in st) continue;; 0A) ;; *) break;; esac;
case $l in
00000000:$x|00000000000000000000000000000000:$x) h=127.0.0.1; break;;
$m:$x|0000000000000000FFFF0000$m:$x)
l=${{l%:*}}; l=${{l#0000000000000000FFFF0000}};
a=${{l#??????}}; b=${{l#????}}; b=${{b%??}}; c=${{l#??}}; c=${{c%????}}; d=${{l%??????}};
h=$((0x$a)).$((0x$b)).$((0x$c)).$((0x$d)); break;;
esac; done <"$f"; done;
[ "$r" ] || h=127.0.0.1;
[ "$h" ] || exit 1;
"""

# for Python 2 and 3, without what the image's environment would load into them
_PYTHON = (
    "import socket,sys;h,p,u,t=sys.argv[1:];c=socket.create_connection((h,int(p)),float(t));"
    r'c.sendall(("GET "+u+" HTTP/1.1\r\nHost: "+h+":"+p+"\r\nConnection: close\r\n\r\n").encode());'
    'print(c.makefile("rb").readline().split()[1].decode())'
)
_NODE = (
    'var a=process.argv;require("http").get({host:a[1],port:a[2],path:a[3]},function(x){console.log(x.statusCode);'
    'process.exit()}).on("error",function(){process.exit(1)});setTimeout(function(){process.exit(1)},a[4]*1e3)'
)
_BASH = (
    r'exec 3<>"/dev/tcp/$0/$1"&&printf "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n" "$2" "$0" "$1">&3'
    '&&read -r -t "$3" _ s _<&3&&echo "$s"'
)
# Each client reports the status of the answer and follows no redirect, but wget does. Some builds of busybox have a
# wget that refuses a timeout or crashes on it; ECS's own timeout has to do there.
_STATUS = """\
u={path}; t={timeout};
has() {{ command -v "$1" >/dev/null 2>&1; }};
if has curl; then s=$(curl -qgs -o /dev/null -m $t --noproxy '*' -w '%{{http_code}}' "http://$h:$n$u");
elif has wget; then
w() {{ http_proxy= wget "$@" -O /dev/null "http://$h:$n$u" 2>&1; }};
s=$(w -S -T $t -t 1) && exit 0;
case $?.$s in 1??.*|*Usage:*) s=$(w) && exit 0;; esac;
s=${{s#*HTTP/?.? }}; s=${{s%%[!0-9]*}};
elif p=$(command -v python3 || command -v python); then s=$("$p" -ES -c {python} "$h" "$n" "$u" $t);
elif has node; then s=$(NODE_OPTIONS= node -e {node} "$h" "$n" "$u" $t);
elif has bash; then s=$(BASH_ENV= bash -c {bash} "$h" "$n" "$u" $t);
else exit 0; fi;
case $s in 2??|3??|429) exit 0;; esac;
exit 1
"""


def check_of_ports(ports: Iterable[PortSpec]) -> dict[str, Any] | None:
    """The healthCheck of a container with these ports; ECS makes one, so it's made from the first check that it can.

    None when there is no such check. What Consul calls passing or a warning is healthy: 2xx and 429. So is a redirect,
    which Consul follows.
    """
    return next((_of_port(one.port, one.check) for one in ports if one.check and _is_for_ecs(one.check)), None)


def _is_for_ecs(check: Check) -> bool:
    return check.container and not check.ttl


def _of_port(port: int, check: Check) -> dict[str, Any]:
    interval = _clamp(seconds(check.interval), INTERVAL)
    timeout = min(seconds(check.timeout or DEFAULT_TIMEOUT), TIMEOUT[1] - MARGIN)
    command = _http(port, check.http, timeout) if check.http else _tcp(port)
    return {
        "command": ["CMD-SHELL", command],
        "interval": interval,
        "timeout": _clamp(timeout + MARGIN, TIMEOUT),
        "retries": RETRIES,
        "startPeriod": _clamp(max(LEAST_START, START_INTERVALS * interval), START_PERIOD),
    }


def seconds(duration: str) -> int:
    """A duration of the config in whole seconds, rounded up."""
    return math.ceil(seconds_of(duration))


def _http(port: int, path: str, timeout: int) -> str:
    # what a request line doesn't allow is encoded, as Consul does; a fragment isn't sent
    target = quote(path.partition("#")[0], safe="/?:@!$&()*+,;=-._~%[]")
    snippets = {name: shlex.quote(text) for name, text in (("python", _PYTHON), ("node", _NODE), ("bash", _BASH))}
    return _line(_ADDRESS, number=port, port=f"{port:04X}") + _line(
        _STATUS, path=shlex.quote(target), timeout=timeout, **snippets
    )


def _tcp(port: int) -> str:
    """A port that is listened to accepts connections: the kernel does."""
    return _line(_ADDRESS, number=port, port=f"{port:04X}") + "exit 0"


def _line(script: str, **values: Any) -> str:
    return script.format(**values).replace("\n", " ")


def _clamp(number: int, limits: tuple[int, int]) -> int:
    least, most = limits
    return max(least, min(number, most))
