"""Who can drive a lab's AWS API: whoever has the key that `env` prints, and nobody else."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.e2e.browser import chromium
from tests.e2e.lab import LOOPBACK, OWN_SERVICE, TIMEOUT, Json, Lab, write
from tests.require import require

RUNTIMES = ("processes",)
TARGET = "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition"
NOBODY = 65534


def hostile(family: str) -> Json:
    """A task definition whose command would run as the lab's user."""
    command = ["sh", "-c", "touch /tmp/was-here"]
    return {"family": family, "containerDefinitions": [{"name": "x", "image": "x", "memory": 8, "command": command}]}


def families(lab: Lab) -> list[str]:
    found: list[str] = lab.client("ecs").list_task_definition_families()["families"]
    return found


@pytest.fixture
def unchanged(lab: Lab) -> Iterator[None]:
    """The lab's task definitions and services are the same before and after the test."""
    before = families(lab), lab.described("portal")["taskDefinition"]
    yield
    assert (families(lab), lab.described("portal")["taskDefinition"]) == before


def port_of(lab: Lab) -> int:
    port = urlsplit(lab.info["AWS_ENDPOINT_URL"]).port
    assert port
    return port


def send(lab: Lab, headers: Mapping[str, str], body: bytes = b"{}", method: str = "POST", path: str = "/") -> tuple[
    int, bytes
]:  # fmt: skip
    """Send a request as it is; the answer's status and body."""
    with closing(HTTPConnection(LOOPBACK, port_of(lab), timeout=TIMEOUT)) as connection:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
        return answer.status, answer.read()


def signed(lab: Lab, body: bytes, secret: str = "", at: datetime | None = None) -> dict[str, str]:
    """The headers of a signed RegisterTaskDefinition."""
    info = lab.info
    headers = {"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", f"{info['AWS_ENDPOINT_URL']}/", headers=headers, data=body)
    credentials = Credentials(info["AWS_ACCESS_KEY_ID"], secret or info["AWS_SECRET_ACCESS_KEY"])
    with pytest.MonkeyPatch.context() as patch:
        if at:
            patch.setattr("botocore.auth.get_current_datetime", lambda: at)
        SigV4Auth(credentials, "ecs", info["AWS_REGION"]).add_auth(request)
    return dict(request.headers.items())


def configure(lab: Lab) -> None:
    """A lab with one service."""
    write(lab.folder / "greeter", OWN_SERVICE)
    lab.config.write_text(f"lab: {lab.name}\nservices:\n  greeter:\n    path: greeter\n")


# --- with the key


def test_clients_work_with_what_env_prints(lab: Lab) -> None:
    assert lab.described("portal")["runningCount"] == 1
    assert lab.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_aws_cli_works_although_the_user_has_other_credentials(lab: Lab) -> None:
    """A profile and a session token that are exported would otherwise be used with the lab's key, or instead of it."""
    require("aws", shutil.which("aws") is not None, "no AWS CLI")
    command = shlex.join([sys.executable, "-m", "ecsconsul", "env"])
    script = f'eval "$({command})"; aws ecs list-services --cluster {lab.name} --query "length(serviceArns)"'
    others = {
        "AWS_PROFILE": "nobody", "AWS_SESSION_TOKEN": "token", "AWS_SECURITY_TOKEN": "token",
        "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z", "AWS_ENDPOINT_URL_ECS": "http://127.0.0.1:9",
    }  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", script], cwd=lab.folder, env={**lab.environment(), **others}, capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def test_key_outlives_the_region_and_goes_with_down(fresh: Lab) -> None:
    configure(fresh)
    fresh.up()
    key, path = fresh.info["AWS_SECRET_ACCESS_KEY"], fresh.state_dir / fresh.name / "access-key.json"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    fresh.region().kill()
    fresh.up()
    assert fresh.info["AWS_SECRET_ACCESS_KEY"] == key
    fresh.down()
    assert not path.exists()
    fresh.up()
    assert fresh.info["AWS_SECRET_ACCESS_KEY"] != key


# --- without it


@pytest.mark.usefixtures("unchanged")
def test_client_without_the_key_is_refused(lab: Lab) -> None:
    body = json.dumps(hostile("stranger")).encode()
    unsigned = {"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1"}
    late = datetime.now(timezone.utc) - timedelta(minutes=16)
    host = {"Host": f"evil.example:{port_of(lab)}"}
    expected = {
        "MissingAuthenticationTokenException": send(lab, unsigned, body),
        "InvalidSignatureException": send(lab, signed(lab, body, secret="wrong"), body),
        "Signature expired": send(lab, signed(lab, body, at=late), body),
        "does not match": send(lab, signed(lab, b"another body"), body),
    }
    for text, (status, answer) in expected.items():
        assert (status, text in answer.decode()) == (400, True), answer
    for headers in (host, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Mode": "cors"}):
        assert send(lab, {**signed(lab, body), **headers}, body)[0] == 403
    assert send(lab, {"Origin": "http://evil.example"}, method="OPTIONS")[0] == 403
    for path in ("/moto-api/", "/moto-api/reset", "/moto-api/data.json"):
        assert send(lab, {}, b"", "GET", path)[0] == 403
        assert send(lab, {}, b"", "POST", path)[0] == 403


def test_copy_of_a_request_is_refused(lab: Lab) -> None:
    body = json.dumps(hostile("copied")).encode()
    headers = signed(lab, body)
    assert send(lab, headers, body)[0] == 200
    assert b"InvalidSignatureException" in send(lab, headers, body)[1]
    assert lab.client("ecs").list_task_definitions(familyPrefix="copied")["taskDefinitionArns"] == [
        f"arn:aws:ecs:{lab.info['AWS_REGION']}:123456789012:task-definition/copied:1"
    ]


@pytest.mark.usefixtures("unchanged")
def test_boto3_with_another_key_is_refused(lab: Lab) -> None:
    import boto3

    for key, code in (("AKIAOTHER", "UnrecognizedClientException"), ("", "InvalidSignatureException")):
        client = boto3.client(
            "ecs", endpoint_url=lab.info["AWS_ENDPOINT_URL"], region_name=lab.info["AWS_REGION"],
            aws_access_key_id=key or lab.info["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong",
        )  # fmt: skip
        with pytest.raises(ClientError, match=code):
            client.register_task_definition(**hostile("stranger"))


@pytest.mark.usefixtures("unchanged")
def test_another_user_can_neither_read_the_key_nor_call(lab: Lab) -> None:
    require("root", os.geteuid() == 0, "only root can become another user")
    body = json.dumps(hostile("nobody")).encode()
    port, name = port_of(lab), lab.name
    # The state folder is within a folder of the tests that is closed anyway; what counts is the lab's own.
    state_dir = os.open(lab.state_dir, os.O_RDONLY)
    lab.state_dir.chmod(0o755)

    def attack() -> Json:
        with closing(HTTPConnection(LOOPBACK, port, timeout=TIMEOUT)) as connection:
            connection.request("POST", "/", body, {"X-Amz-Target": TARGET})
            answer = connection.getresponse().read().decode()
        entries = ("access-key.json", "region.json", "logs/region.log", "instances", ".")
        return {"answer": answer, "opened": [one for one in entries if can_open(f"{name}/{one}", state_dir)]}

    try:
        found = as_nobody(attack)
    finally:
        os.close(state_dir)
    assert found["opened"] == []
    assert "MissingAuthenticationTokenException" in found["answer"]


def can_open(path: str, folder: int) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY, dir_fd=folder))
    except PermissionError:
        return False
    return True


def as_nobody(action: Callable[[], Json]) -> Json:
    """What the action returns when the user nobody does it."""
    parent, child = socket.socketpair()
    with parent, child:
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                child.sendall(json.dumps(action()).encode())
            finally:
                os._exit(0)
        child.close()
        parent.settimeout(TIMEOUT)
        content = b"".join(iter(lambda: parent.recv(65536), b""))
        os.waitpid(pid, 0)
    found: Json = json.loads(content)
    return found


def test_secret_is_nowhere_but_in_its_file(lab: Lab) -> None:
    """In no command line, environment, log or file of the lab, nor in what `--debug` prints."""
    secret = lab.info["AWS_SECRET_ACCESS_KEY"]
    for words in (("status",), ("up",), ("logs", "weather"), ("scale", "weather=1")):
        result = lab.run(*words, "--debug")
        assert "botocore" in result.err or words[0] == "logs", "it logs the requests"
        assert secret not in result.out + result.err
    assert lab.files_with(secret) == [lab.state_dir / lab.name / "access-key.json"]
    assert [process for process in psutil.process_iter() if secret in visible(process)] == []


def visible(process: psutil.Process) -> str:
    """The command line and environment of a process."""
    try:
        return json.dumps([process.cmdline(), process.environ()])
    except psutil.Error:
        return ""


def test_files_of_the_lab_are_closed_to_others(lab: Lab) -> None:
    folder = lab.state_dir / lab.name
    assert folder.stat().st_mode & 0o777 == 0o700
    written = [folder / "region.json", *folder.glob("logs/*"), *folder.glob("instances/*/consul.json")]
    assert len(written) > 3
    assert [path for path in written if path.stat().st_mode & 0o077] == []


# --- from a web page


@contextmanager
def website() -> Iterator[int]:
    """A site whose pages are empty; its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>evil</title>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, where the name evil.example leads to this machine."""
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as found:
        yield found


ATTACK = """
async ([region, target, body]) => {
  const tried = [
    {mode: "cors", headers: {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}},
    {mode: "cors", headers: {"Content-Type": "text/plain"}},
    {mode: "no-cors", headers: {"Content-Type": "text/plain"}},
    {mode: "no-cors", headers: {"X-Amz-Target": target, "Content-Type": "application/x-www-form-urlencoded"}},
  ];
  const results = [];
  for (const options of tried) {
    try {
      const answer = await fetch(region, {method: "POST", body, ...options});
      results.push(answer.type === "opaque" ? "opaque" : `read ${answer.status}: ${await answer.text()}`);
    } catch (error) {
      results.push("blocked");
    }
  }
  return results;
}
"""
FORM = """
([region, name, value]) => {
  const target = `frame${document.forms.length}`;
  const frame = Object.assign(document.createElement("iframe"), {name: target});
  const form = Object.assign(document.createElement("form"),
    {method: "post", action: region, target, enctype: "text/plain"});
  form.append(Object.assign(document.createElement("input"), {name, value}));
  document.body.append(frame, form);
  const loaded = new Promise(resolve => frame.addEventListener("load", () => resolve("loaded")));
  form.submit();
  return Promise.race([loaded, new Promise(resolve => setTimeout(() => resolve("late"), 20000))]);
}
"""


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_page_of_another_origin_changes_and_reads_nothing(lab: Lab, browser: Any, host: str) -> None:
    body = json.dumps(hostile("page"))
    with website() as port, closing_context(browser) as page:
        page.goto(f"http://{host}:{port}/")
        endpoints = [f"http://{name}:{port_of(lab)}/" for name in ("127.0.0.1", "localhost", "evil.example")]
        for endpoint in endpoints:
            results = page.evaluate(ATTACK, [endpoint, TARGET, body])
            assert [one for one in results if one not in ("blocked", "opaque")] == []
            query = f"{endpoint}?Action=CreateStack&StackName=evil"
            assert page.evaluate(FORM, [query, '{"family": "page", "x": "', '"}']) == "loaded"


@pytest.mark.usefixtures("unchanged")
def test_page_whose_name_leads_here_is_refused(lab: Lab, browser: Any) -> None:
    """After DNS rebinding the page's own origin is the region, so that the browser lets it send and read everything."""
    origin = f"http://evil.example:{port_of(lab)}"
    with closing_context(browser) as page:
        assert page.goto(f"{origin}/_ecsconsul/ping").status == 403
        results = page.evaluate(ATTACK, [f"{origin}/", TARGET, json.dumps(hostile("rebound"))])
    assert results == ["read 403: Forbidden\n"] * 4


@contextmanager
def closing_context(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    context.set_default_timeout(30_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def test_folder_that_an_older_version_left_open_is_closed(fresh: Lab) -> None:
    """The folder and a key that others could have read."""
    folder = fresh.state_dir / fresh.name
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "access-key.json"
    key.write_text('{"id": "AKIAKNOWN", "secret": "known"}')
    key.chmod(0o644)
    configure(fresh)
    fresh.up()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "known" not in key.read_text()


def test_folder_of_another_user_is_refused(fresh: Lab) -> None:
    require("root", os.geteuid() == 0, "only root can give a folder away")
    folder = Path(fresh.state_dir / fresh.name)
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    configure(fresh)
    result = fresh.run("up")
    shutil.rmtree(folder)
    assert result.code == 1
    assert "The lab's folder belongs to another user" in result.err
