"""A VPC on this machine for boot scripts: a network namespace with Amazon's DNS, instance metadata and the AWS API.

The servers answer at the addresses and names that AWS's have, with TLS where AWS has it. What they cannot know is who
is an instance: `machine.py` makes those.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

NETWORK = "10.31.0"
ROUTER, AMAZON_DNS, AWS_API, METADATA = f"{NETWORK}.1", f"{NETWORK}.2", f"{NETWORK}.5", "169.254.169.254"
OUTSIDE = {"outside.example.": "198.51.100.7"}
ROLE, KEY_ID, SESSION = "lab-role", "ASIATESTSTESTSTESTS0", "session-token-of-the-role"
CLONE_NEWNET = 0x40000000
# the ECS agent listens from an instance's start, so no connection can have its port; tests start it later
ECS_AGENT_PORT = 51678
RESERVED_PORTS = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
# parameters in one answer of SSM
PAGE = 10

T = TypeVar("T")


@dataclass
class Ec2Instance:
    """An instance as EC2 describes it."""

    id: str
    address: str
    launched: str
    tags: dict[str, str]
    state: str = "running"
    # what Auto Scaling has planned for it
    target: str = "InService"


@dataclass(frozen=True)
class Signal:
    """A SignalResource request, and whether Consul's servers listed the instance as alive at that time."""

    resource: str
    instance: str
    status: str
    alive: bool


@dataclass(frozen=True)
class Request:
    """A request to the AWS API that an instance has signed."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    instance: Ec2Instance

    @property
    def operation(self) -> str:
        """The operation in a JSON protocol's header, without the service: GetParameter."""
        return self.headers.get("X-Amz-Target", "").rpartition(".")[2]

    @property
    def form(self) -> dict[str, str]:
        """The fields of a request in the query protocol."""
        return {key: values[0] for key, values in parse_qs(self.body).items()}


class Answer(NamedTuple):
    """What the AWS API answers."""

    status: int
    body: str | bytes
    kind: str = "text/xml"


@dataclass
class Cloud:
    """The state behind the VPC's AWS API, and the requests it received.

    `services` are those beside SSM, EC2 and CloudFormation, by the label before the region in their host names.
    """

    region: str
    parameters: dict[str, str]
    instances: dict[str, Ec2Instance] = field(default_factory=dict)
    is_alive: Callable[[str], bool] = lambda instance: False
    signals: list[Signal] = field(default_factory=list)
    unsigned: list[str] = field(default_factory=list)
    services: dict[str, Callable[[Request], Answer]] = field(default_factory=dict)


def sh(*argv: str, timeout: float = 30.0) -> str:
    """Run a command; returns its stdout."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def inside(namespace: str, do: Callable[[], T]) -> T:
    """Call a function in a thread inside a network namespace; the sockets it creates stay there."""

    def enter_and_do() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{namespace}").open("rb") as door:
            assert libc.setns(door.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        return do()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter_and_do).result()


@dataclass
class Vpc:
    """The namespace and its bridge, to which instances are attached."""

    name: str
    cloud: Cloud
    authority: Path  # the certificate authority of the simulated AWS API

    @property
    def namespace(self) -> str:
        return f"{self.name}-vpc"

    @contextmanager
    def attached(self, name: str, address: str) -> Iterator[str]:
        """A network namespace for an instance with this address; yields its name."""
        namespace = f"{self.name}-{name}"
        port = f"p{address.rpartition('.')[2]}"
        sh("ip", "netns", "add", namespace)
        try:
            sh("ip", "-n", self.namespace, "link", "add", port, "type", "veth", "peer", "eth0", "netns", namespace)
            sh("ip", "-n", self.namespace, "link", "set", port, "master", "subnet", "up")
            sh("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
            sh("ip", "-n", namespace, "link", "set", "eth0", "up")
            sh("ip", "-n", namespace, "route", "add", "default", "via", ROUTER)
            inside(namespace, lambda: RESERVED_PORTS.write_text(f"{ECS_AGENT_PORT}"))
            yield namespace
        finally:
            sh("ip", "netns", "delete", namespace)


@contextmanager
def vpc(cloud: Cloud, folder: Path) -> Iterator[Vpc]:
    """A running VPC."""
    made = Vpc(f"ecb{secrets.token_hex(4)}", cloud, folder / "authority.pem")
    certificate = _certificate(folder, cloud.region)
    with ExitStack() as stack:
        sh("ip", "netns", "add", made.namespace)
        stack.callback(sh, "ip", "netns", "delete", made.namespace)
        sh("ip", "-n", made.namespace, "link", "set", "lo", "up")
        sh("ip", "-n", made.namespace, "link", "add", "subnet", "type", "bridge")
        for address in (f"{ROUTER}/24", f"{AMAZON_DNS}/24", f"{AWS_API}/24", f"{METADATA}/32"):
            sh("ip", "-n", made.namespace, "address", "add", address, "dev", "subnet")
        sh("ip", "-n", made.namespace, "link", "set", "subnet", "up")
        for serve in (_serve_metadata, _serve_aws_api, _serve_dns_by_udp, _serve_dns_by_tcp):
            serve(made, certificate, stack)
        yield made


def _certificate(folder: Path, region: str) -> tuple[Path, Path]:
    """A certificate and key for the AWS API's names, from a private authority (folder/authority.pem)."""
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    certificate, key, request = folder / "api.pem", folder / "api.key", folder / "api.csr"
    new = ("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout")
    sh(*new, str(authority_key), "-x509", "-days", "2", "-subj", "/CN=test authority", "-out", str(authority))
    sh(*new, str(key), "-subj", f"/CN=*.{region}.amazonaws.com", "-out", str(request))
    extension = folder / "api.ext"
    extension.write_text(f"subjectAltName=DNS:*.{region}.amazonaws.com,DNS:*.s3.{region}.amazonaws.com\n")
    signer = ("-CA", str(authority), "-CAkey", str(authority_key), "-CAcreateserial", "-days", "2")
    sh("openssl", "x509", "-req", "-in", str(request), *signer, "-extfile", str(extension), "-out", str(certificate))
    return certificate, key


# ---------------------------------------------------------------- HTTP


class _Server(ThreadingHTTPServer):
    """An HTTP server on an existing socket."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, handler: type[BaseHTTPRequestHandler], at: Vpc) -> None:
        super().__init__(listening.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.vpc = at
        self.tokens: dict[str, str] = {}


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 10

    @property
    def cloud(self) -> Cloud:
        return self.server.vpc.cloud

    def answer(self, status: int, text: str | bytes, kind: str = "text/plain") -> None:
        body = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Metadata(_Handler):
    """IMDSv2 only. Identifies the instance by its address, as EC2 does."""

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token" or not self.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            return self.answer(400, "")
        token = secrets.token_urlsafe(24)
        self.server.tokens[token] = self.client_address[0]
        self.send_response(200)
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "60")
        self.send_header("Content-Length", str(len(token)))
        self.end_headers()
        self.wfile.write(token.encode())

    def do_GET(self) -> None:
        address = self.client_address[0]
        if self.server.tokens.get(self.headers["X-aws-ec2-metadata-token"] or "") != address:
            return self.answer(401, "")
        instance = next((one for one in self.cloud.instances.values() if one.address == address), None)
        text = self._pages(instance).get(self.path.rstrip("/").removeprefix("/latest/")) if instance else None
        return self.answer(404, "") if text is None else self.answer(200, text)

    def _pages(self, instance: Ec2Instance) -> dict[str, str]:
        keys = {"AccessKeyId": KEY_ID, "SecretAccessKey": "secret-of-the-role", "Token": SESSION}
        times = {"LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}
        return {
            "meta-data/instance-id": instance.id,
            "meta-data/local-ipv4": instance.address,
            "meta-data/placement/region": self.cloud.region,
            "meta-data/placement/availability-zone": f"{self.cloud.region}a",
            "meta-data/autoscaling/target-lifecycle-state": instance.target,
            "meta-data/iam/security-credentials": ROLE,
            f"meta-data/iam/security-credentials/{ROLE}": json.dumps(
                {"Code": "Success", "Type": "AWS-HMAC", **keys, **times}
            ),
        }


class _AwsApi(_Handler):
    """The operations of SSM, EC2 and CloudFormation that the scripts and Consul call."""

    def do_GET(self) -> None:
        self.do_POST()

    do_PUT = do_DELETE = do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self._body().decode("latin-1")
        service = (self.headers["Host"] or "").removesuffix(f".{self.cloud.region}.amazonaws.com").rpartition(".")[2]
        credential = self.headers["Authorization"] or ""
        if f"Credential={KEY_ID}/" not in credential or self.headers["X-Amz-Security-Token"] != SESSION:
            self.cloud.unsigned.append(service)
            return self.answer(403, "")
        if service in self.cloud.services:
            instance = next(one for one in self.cloud.instances.values() if one.address == self.client_address[0])
            request = Request(self.command, self.path, dict(self.headers), body, instance)
            return self.answer(*self.cloud.services[service](request))
        if service == "ssm":
            return self._ssm(json.loads(body))
        form = {key: values[0] for key, values in parse_qs(body).items()}
        operations = {
            "CreateTags": self._create_tags,
            "DescribeInstances": self._describe_instances,
            "SignalResource": self._signal_resource,
        }
        return operations[form["Action"]](form)

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _ssm(self, request: Mapping[str, Any]) -> None:
        operation = (self.headers["X-Amz-Target"] or "").removeprefix("AmazonSSM.")
        name = request["Name"] if operation == "GetParameter" else request["Path"]
        if not self._may_read(name):
            return self._json(400, {"__type": "AccessDeniedException", "message": f"not authorized for {name}"})
        if operation == "GetParametersByPath":
            assert request["Recursive"] and request["WithDecryption"]
            found = [one for one in sorted(self.cloud.parameters) if one.startswith(f"{name}/")]
            start = int(request.get("NextToken", 0))
            page, rest = found[start : start + PAGE], found[start + PAGE :]
            more = {"NextToken": str(start + PAGE)} if rest else {}
            return self._json(200, {"Parameters": [self._parameter(one) for one in page], **more})
        if name not in self.cloud.parameters:
            return self._json(400, {"__type": "ParameterNotFound"})
        return self._json(200, {"Parameter": self._parameter(name)})

    def _may_read(self, name: str) -> bool:
        """As the roles of the template allow."""
        address = self.client_address[0]
        tags = next(one.tags for one in self.cloud.instances.values() if one.address == address)
        own = "servers" if "ecsconsul:consul-server-of" in tags else "agents"
        return name.split("/")[3] in ("ca", "gossip-key", own)

    def _parameter(self, name: str) -> dict[str, str]:
        return {"Name": name, "Type": "SecureString", "Value": self.cloud.parameters[name]}

    def _json(self, status: int, document: Mapping[str, Any]) -> None:
        self.answer(status, json.dumps(document), "application/x-amz-json-1.1")

    def _describe_instances(self, form: Mapping[str, str]) -> None:
        found = [one for one in self.cloud.instances.values() if _matches(one, form)]
        items = "".join(
            f"<item><reservationId>r-{one.id[2:]}</reservationId><instancesSet>{_instance_xml(one)}</instancesSet></item>"
            for one in found
        )
        self.answer(
            200,
            '<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<reservationSet>{items}</reservationSet></DescribeInstancesResponse>",
            "text/xml",
        )

    def _create_tags(self, form: Mapping[str, str]) -> None:
        assert len(form["Tag.1.Value"]) <= 256
        self.cloud.instances[form["ResourceId.1"]].tags[form["Tag.1.Key"]] = form["Tag.1.Value"]
        self.answer(
            200,
            '<CreateTagsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><return>true</return></CreateTagsResponse>',
        )

    def _signal_resource(self, form: Mapping[str, str]) -> None:
        instance = form["UniqueId"]
        alive = self.cloud.is_alive(instance)
        self.cloud.signals.append(Signal(form["LogicalResourceId"], instance, form["Status"], alive))
        self.answer(
            200,
            '<SignalResourceResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">'
            "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></SignalResourceResponse>",
            "text/xml",
        )


def _matches(instance: Ec2Instance, form: Mapping[str, str]) -> bool:
    """Whether an instance matches InstanceId.N and Filter.N (tags, their keys, and states only)."""
    if wanted := [value for key, value in form.items() if key.startswith("InstanceId.")]:
        return instance.id in wanted
    for number in range(1, 9):
        name = form.get(f"Filter.{number}.Name")
        values = [value for key, value in form.items() if key.startswith(f"Filter.{number}.Value.")]
        if name is None:
            return True
        if name == "tag-key":
            have = next((value for value in values if value in instance.tags), None)
        else:
            have = instance.state if name == "instance-state-name" else instance.tags.get(name.removeprefix("tag:"))
        if have not in values:
            return False
    return True


def _instance_xml(instance: Ec2Instance) -> str:
    tags = "".join(
        f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>" for key, value in instance.tags.items()
    )
    return (
        f"<item><instanceId>{instance.id}</instanceId><privateIpAddress>{instance.address}</privateIpAddress>"
        f"<instanceState><code>16</code><name>{instance.state}</name></instanceState>"
        f"<launchTime>{instance.launched}</launchTime><tagSet>{tags}</tagSet></item>"
    )


def _serve_metadata(at: Vpc, certificate: tuple[Path, Path], stack: ExitStack) -> None:
    """Its packets have a TTL of 1, as in the launch template: they don't cross Docker's bridge."""
    listening = inside(at.namespace, lambda: _listen(METADATA, 80))
    listening.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
    _run(_Server(listening, _Metadata, at), stack)


def _serve_aws_api(at: Vpc, certificate: tuple[Path, Path], stack: ExitStack) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listening = inside(at.namespace, lambda: _listen(AWS_API, 443))
    # each connection's own thread does the handshake
    wrapped = context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
    _run(_Server(wrapped, _AwsApi, at), stack)


def _listen(address: str, port: int) -> socket.socket:
    return socket.create_server((address, port), backlog=64)


def _run(server: _Server, stack: ExitStack) -> None:
    stack.callback(server.server_close)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    stack.callback(server.shutdown)


# ---------------------------------------------------------------- DNS


def _reply(at: Vpc, wire: bytes) -> bytes:
    """Answers as Amazon's DNS: the AWS API's names, those of OUTSIDE, and NXDOMAIN for all others."""
    query = dns.message.from_wire(wire)
    name = query.question[0].name.to_text().lower()
    response = dns.message.make_response(query, recursion_available=True)
    aws = name.removesuffix(f".{at.cloud.region}.amazonaws.com.").rpartition(".")[2]
    address = AWS_API if aws in (*_SERVICES, *at.cloud.services) else OUTSIDE.get(name)
    if address is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif query.question[0].rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
    return response.to_wire()


_SERVICES = ("ec2", "ssm", "cloudformation")


def _serve_dns_by_udp(at: Vpc, certificate: tuple[Path, Path], stack: ExitStack) -> None:
    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((AMAZON_DNS, 53))
        return sock

    sock = inside(at.namespace, bind)

    def serve() -> None:
        while True:
            wire, sender = sock.recvfrom(4096)
            if not wire:  # the socket was shut down
                return
            sock.sendto(_reply(at, wire), sender)

    threading.Thread(target=serve, daemon=True).start()
    stack.callback(_end, sock)


def _serve_dns_by_tcp(at: Vpc, certificate: tuple[Path, Path], stack: ExitStack) -> None:
    listening = inside(at.namespace, lambda: _listen(AMAZON_DNS, 53))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(5)
                wire = _reply(at, stream.read(int.from_bytes(stream.read(2), "big")))
                connection.sendall(len(wire).to_bytes(2, "big") + wire)

    threading.Thread(target=serve, daemon=True).start()
    stack.callback(_end, listening)


def _end(sock: socket.socket) -> None:
    """Shut the socket down before closing it, to wake the thread that waits on it."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
