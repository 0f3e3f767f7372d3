"""Images for AWS, built on a real engine and pushed to a real registry, with and without a login."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.docker.build_context import source_hash
from ecsconsul.docker.builder import DockerEngine, PushRefused
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.registry import RegistryImages
from tests.docker_engine import REPOSITORY, base_image, docker, docker_engine
from tests.docker_registry import PASSWORD, USER, Registry, docker_registry

SERVICES = ("stock-price", "weather", "portal")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_engine() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("DOCKER_HOST", url)
        yield url


@pytest.fixture(scope="module")
def registry(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with docker_registry(tmp_path_factory.mktemp("guarded"), login=True) as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of Docker's config file, for a user who has never logged in."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


@pytest.fixture
def lab(tmp_path: Path, engine: str) -> Iterator[Lab]:
    """A lab with a unique name, whose images are removed from the engine afterwards."""
    services = tuple(ServiceSpec(name=name, path=str(tmp_path / name)) for name in SERVICES)
    found = Lab(name=f"t-{uuid4().hex[:8]}", services=services)
    yield found
    labeled = ("--filter", f"label=ecsconsul.lab={found.name}")
    for image in docker(engine, "images", "-q", *labeled).split():
        docker(engine, "rmi", "-f", image)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A source whose image is a single file, so it builds fast for any platform."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY hello /hello\nCMD ["/hello"]\n')
    (folder / "hello").write_text("hello")
    return folder


def no_client(service: str) -> Any:
    raise AssertionError(f"a registry in the config needs no AWS client ({service})")


def images(lab: Lab, registry: str, architecture: str = "x86_64") -> RegistryImages:
    """Creates them as every command does."""
    return RegistryImages(lab, registry, no_client, lambda: architecture)


def put(images: RegistryImages, service: str, source: Path, args: dict[str, str] | None = None) -> list[str]:
    """Build and push unless the tag exists, as the step does; returns the output."""
    output: list[str] = []
    tag = source_hash(source, args)
    if tag not in images.tags(service):
        images.publish(service, tag, source, args or {}, output.append)
    return output


def copies(engine: str, lab: Lab) -> list[str]:
    labeled = ("--filter", f"label=ecsconsul.lab={lab.name}", "--format", "{{.Repository}}:{{.Tag}}")
    return sorted(docker(engine, "images", *labeled).split())


# --- publishing


def test_services_are_built_and_pushed_once(
    engine: str, registry: Registry, lab: Lab, tmp_path: Path, config: Path
) -> None:
    args = {"BASE": base_image(engine)}
    for name in SERVICES:
        shutil.copytree(REPOSITORY / "services" / name, tmp_path / name)
    named = f"{registry.host}/{lab.name}"

    def publish_all() -> dict[str, list[str]]:
        found = images(lab, named)
        assert found.blockers() == []
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            futures = {name: pool.submit(put, found, name, tmp_path / name, args) for name in SERVICES}
            return {name: future.result() for name, future in futures.items()}

    first = publish_all()
    for name in SERVICES:
        tag = source_hash(tmp_path / name, args)
        assert registry.get(f"/v2/{lab.name}/{name}/tags/list")["tags"] == [tag]
        assert f"building {named}/{name}:{tag} for linux/amd64" in first[name]
        assert f"pushing {named}/{name}:{tag}" in first[name]
    assert any(line.startswith("pushed ") for lines in first.values() for line in lines)
    assert publish_all() == {name: [] for name in SERVICES}

    edited = tmp_path / "weather" / "app.py"
    edited.write_text(edited.read_text() + "# edited\n")
    assert {name for name, output in publish_all().items() if output} == {"weather"}
    assert len(images(lab, named).tags("weather")) == 2
    assert len(copies(engine, lab)) == len(SERVICES), "the copy of the earlier version is removed"

    found = images(lab, named)
    for name in SERVICES:
        found.delete(name)
        found.delete(name)
        assert found.tags(name) == []
    assert (found.kept(), copies(engine, lab)) == ([], [])


@pytest.mark.parametrize(("architecture", "platform"), [("arm64", "arm64"), ("x86_64", "amd64")])
def test_images_have_the_instances_architecture(
    engine: str, registry: Registry, lab: Lab, scratch: Path, architecture: str, platform: str, config: Path
) -> None:
    found = images(lab, f"{registry.host}/{lab.name}", architecture)
    put(found, "weather", scratch)
    reference = found.reference("weather", source_hash(scratch))
    assert docker(engine, "image", "inspect", "-f", "{{.Architecture}}", reference) == platform


def test_architectures_have_separate_images(
    engine: str, registry: Registry, lab: Lab, scratch: Path, config: Path
) -> None:
    """Older engines would reuse the cached image of the other architecture."""
    named, tag = f"{registry.host}/{lab.name}", source_hash(scratch)
    put(images(lab, named), "weather", scratch)
    arm = images(lab, named, "arm64")
    assert arm.tags("weather") == []
    put(arm, "weather", scratch)
    assert sorted(registry.get(f"/v2/{lab.name}/weather/tags/list")["tags"]) == [tag, f"{tag}-arm64"]
    assert images(lab, named).tags("weather") == arm.tags("weather") == [tag]
    assert docker(engine, "image", "inspect", "-f", "{{.Architecture}}", arm.reference("weather", tag)) == "arm64"


def test_image_with_the_wrong_architecture_is_refused(
    engine: str, registry: Registry, lab: Lab, scratch: Path, config: Path
) -> None:
    own = docker(engine, "version", "-f", "{{.Server.Arch}}")
    other = "arm64" if own == "amd64" else "x86_64"
    (scratch / "Dockerfile").write_text(f"FROM --platform=linux/{own} {base_image(engine)}\nCOPY hello /hello\n")
    with pytest.raises(LabError, match=f"built for {own} instead of"):
        put(images(lab, f"{registry.host}/{lab.name}", other), "weather", scratch)


def test_unlabeled_images_are_neither_listed_nor_deleted(
    engine: str, registry: Registry, lab: Lab, scratch: Path, config: Path
) -> None:
    named = f"{registry.host}/{lab.name}"
    put(images(lab, named), "weather", scratch)
    for tag in ("latest", "0123456789ab"):
        docker(engine, "build", "-q", "--label", "by=hand", "-t", f"{named}/weather:{tag}", str(scratch))
        docker(engine, "push", "-q", f"{named}/weather:{tag}")
    found = images(lab, named)
    found.delete("weather")
    assert sorted(registry.get(f"/v2/{lab.name}/weather/tags/list")["tags"]) == ["0123456789ab", "latest"]
    assert docker(engine, "images", "-q", f"{named}/weather:latest"), "the unlabeled copy stays on the engine"
    docker(engine, "rmi", f"{named}/weather:latest", f"{named}/weather:0123456789ab")


def test_image_that_the_registry_cannot_delete_is_retained(
    engine: str, lab: Lab, scratch: Path, tmp_path: Path, config: Path
) -> None:
    with docker_registry(tmp_path / "append-only", deletes=False) as append_only:
        found = images(lab, append_only.host)
        put(found, "weather", scratch)
        found.delete("weather")
        (retained,) = found.kept()
        assert retained.startswith(
            f"image {append_only.host}/weather:{source_hash(scratch)}: the registry can't delete it"
        )
        assert "UNSUPPORTED" in retained
        assert copies(engine, lab) == []


# --- failures


def test_failed_build_shows_its_last_lines(registry: Registry, lab: Lab, scratch: Path, config: Path) -> None:
    (scratch / "Dockerfile").write_text("FROM scratch\nCOPY missing /missing\n")
    with pytest.raises(LabError, match="image build failed") as raised:
        put(images(lab, registry.host), "weather", scratch)
    assert "missing" in raised.value.why
    assert raised.value.where == str(scratch / "Dockerfile")


def test_missing_engine_is_a_blocker(
    registry: Registry, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    found = images(lab, registry.host)
    (blocker,) = found.blockers()
    assert blocker.what == "The Docker engine doesn't answer"
    assert "start Docker" in blocker.hint
    # removing the lab needs no engine
    found.delete("weather")


def test_unreachable_registry_is_a_blocker(lab: Lab, config: Path, engine: str) -> None:
    """Port 9 (discard) of loopback has no server."""
    (blocker,) = images(lab, "127.0.0.1:9/x").blockers()
    assert blocker.what == "The registry doesn't answer"
    assert blocker.where == "registry 127.0.0.1:9"


def test_unreachable_registry_does_not_stop_the_removal(lab: Lab, config: Path, engine: str) -> None:
    found = images(lab, "127.0.0.1:9/x")
    found.delete("weather")
    (retained,) = found.kept()
    assert retained.startswith("any images of 127.0.0.1:9/x/weather: The registry doesn't answer")


def test_failed_push_carries_the_engines_message(lab: Lab, scratch: Path, config: Path) -> None:
    found = images(lab, "127.0.0.1:9/x")
    with pytest.raises(PushRefused, match="refused") as raised:
        found.publish("weather", source_hash(scratch), scratch, {}, lambda text: None)
    assert raised.value.hint == "run `docker login 127.0.0.1:9` as a user who may push to 127.0.0.1:9/x"


def test_other_architecture_needs_an_emulator(registry: Registry, lab: Lab, tmp_path: Path, config: Path) -> None:
    """A folder stands in for the kernel's binfmt_misc: first without, then with an emulator for arm64."""
    binfmt = tmp_path / "binfmt"
    binfmt.mkdir()

    def blockers() -> list[LabError]:
        return RegistryImages(lab, registry.host, no_client, lambda: "arm64", DockerEngine(binfmt)).blockers()

    (blocker,) = blockers()
    assert "can't run arm64 programs" in blocker.what
    assert "binfmt --install arm64" in blocker.hint
    (binfmt / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64-static\n")
    assert blockers() == []


def test_published_images_need_no_emulator(
    registry: Registry, lab: Lab, tmp_path: Path, scratch: Path, config: Path
) -> None:
    named = f"{registry.host}/{lab.name}"
    for service in SERVICES:
        put(images(lab, named, "arm64"), service, scratch)
    assert RegistryImages(lab, named, no_client, lambda: "arm64", DockerEngine(tmp_path)).blockers() == []


# --- logins


def log_in(config: Path, host: str, password: str = PASSWORD) -> None:
    from base64 import b64encode

    config.write_text(json.dumps({"auths": {host: {"auth": b64encode(f"{USER}:{password}".encode()).decode()}}}))


def test_stored_login_is_used(engine: str, guarded: Registry, lab: Lab, scratch: Path, config: Path) -> None:
    log_in(config, guarded.host)
    found = images(lab, guarded.host)
    assert found.blockers() == []
    put(found, "weather", scratch)
    assert guarded.get("/v2/weather/tags/list", login=True)["tags"] == [source_hash(scratch)]
    found.delete("weather")
    assert guarded.get("/v2/weather/tags/list", login=True)["tags"] is None


def test_login_comes_from_a_credential_helper(
    guarded: Registry, lab: Lab, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-tests"
    answer = json.dumps({"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config.write_text(json.dumps({"credHelpers": {guarded.host: "tests"}}))
    assert images(lab, guarded.host).blockers() == []


def test_missing_credential_helper_is_a_blocker(guarded: Registry, lab: Lab, config: Path) -> None:
    config.write_text(json.dumps({"credHelpers": {guarded.host: "nowhere"}}))
    (blocker,) = images(lab, guarded.host).blockers()
    assert blocker.what == "Docker's stored logins can't be read"
    assert "docker-credential-nowhere" in blocker.why


def test_missing_login_is_a_blocker(guarded: Registry, lab: Lab, config: Path) -> None:
    (blocker,) = images(lab, guarded.host).blockers()
    assert blocker.what == "There is no login for the registry"
    assert "UNAUTHORIZED" in blocker.why
    assert blocker.hint == f"run `docker login {guarded.host}`"


def test_wrong_login_is_a_blocker_and_never_shown(guarded: Registry, lab: Lab, scratch: Path, config: Path) -> None:
    log_in(config, guarded.host, "wr0ng-one")
    found = images(lab, guarded.host)
    (blocker,) = found.blockers()
    assert blocker.what == "The registry rejects the login"
    with pytest.raises(PushRefused) as raised:
        found.publish("weather", source_hash(scratch), scratch, {}, lambda text: None)
    assert raised.value.hint == f"run `docker login {guarded.host}` as a user who may push to {guarded.host}"
    assert "wr0ng-one" not in f"{blocker} {raised.value} {blocker.hint}"


def test_images_behind_a_lost_login_are_retained(guarded: Registry, lab: Lab, config: Path) -> None:
    found = images(lab, guarded.host)
    assert found.tags("weather") == []
    found.delete("weather")
    (retained,) = found.kept()
    assert retained.startswith(f"any images of {guarded.host}/weather")
