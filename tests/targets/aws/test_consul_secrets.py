"""The secrets of a lab's Consul in SSM: created once, each where its readers are, repaired, rotated, deleted."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from msgspec import structs

from ecsconsul.config.container_spec import Check
from ecsconsul.config.lab import ConsulSpec, Lab, ServiceSpec, SnapshotSpec
from ecsconsul.consul.lab_secrets import (
    MANAGEMENT,
    MONITORING,
    REGISTRATOR,
    LabSecrets,
    new_gossip_key,
    rotated,
    service_holder,
)
from ecsconsul.consul.snapshot_file import life_of
from ecsconsul.errors import LabError, TargetAbsent
from ecsconsul.targets.aws.consul_secrets import (
    ConsulSecrets,
    authority_file,
    create_service_tokens,
    forget_authority,
    task_secrets,
)
from ecsconsul.targets.aws.ssm_parameter import LabParameter
from ecsconsul.targets.base import NO_SECRETS, ConsulAddress
from tests.secure_consul import secure_consul

Account = Callable[[str], Any]
# SSM's limit for a standard parameter
MOST_BYTES = 4096
LONGEST = "a" * 32
TTL = Check(ttl="30s")
FOLDERS = {"operator", "servers", "agents", "tasks", "monitoring"}


@pytest.fixture
def ssm(account: Account) -> Any:
    return account("ssm")


def lab_with(*ttl: str, name: str = "blue", version: str = "1.20.6") -> Lab:
    services = tuple(ServiceSpec(name=one, path="/nowhere", check=TTL) for one in ttl)
    return Lab(name=name, consul=ConsulSpec(version=version), services=services)


def written(ssm: Any, lab: Lab) -> LabSecrets:
    parameters = ConsulSecrets(ssm, lab)
    found = parameters.make()
    parameters.write(found)
    return found


def stored(ssm: Any, lab: str = "blue") -> dict[str, str]:
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path=f"/ecsconsul/{lab}", Recursive=True, WithDecryption=True
    )
    return {
        one["Name"].removeprefix(f"/ecsconsul/{lab}/"): one["Value"] for page in pages for one in page["Parameters"]
    }


def test_parameters_are_tagged_secrets_that_fit(ssm: Any) -> None:
    written(ssm, lab_with(LONGEST, "ticker", name=LONGEST))
    described = ssm.get_paginator("describe_parameters").paginate()
    found = {one["Name"]: one["Type"] for page in described for one in page["Parameters"]}
    assert {name.split("/")[3] for name in found} == {*FOLDERS, "ca"}
    assert [name for name, kind in found.items() if kind != "SecureString"] == [f"/ecsconsul/{LONGEST}/ca"]
    for name in found:
        tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        assert tags == [{"Key": "ecsconsul:lab", "Value": LONGEST}]
    assert [leaf for leaf, text in stored(ssm, LONGEST).items() if len(text.encode()) > MOST_BYTES] == []


def test_each_reader_gets_what_it_needs_and_no_more(ssm: Any) -> None:
    lab_secrets = written(ssm, lab_with("ticker"))
    found = stored(ssm)
    folder_of = {
        folder: "\n".join(text for leaf, text in found.items() if leaf.startswith(f"{folder}/")) for folder in FOLDERS
    }
    assert all(lab_secrets.gossip_key in folder_of[folder] for folder in ("servers", "agents"))
    management, ticker = lab_secrets.token(MANAGEMENT), lab_secrets.token(service_holder("ticker"))
    assert [folder for folder, text in sorted(folder_of.items()) if management in text] == ["servers"]
    assert [folder for folder, text in sorted(folder_of.items()) if ticker in text] == ["servers", "tasks"]
    assert [folder for folder, text in sorted(folder_of.items()) if lab_secrets.token_seed in text] == ["operator"]
    assert found["tasks/registrator"] == lab_secrets.token(REGISTRATOR)
    assert found["tasks/ticker"] == ticker
    assert found["monitoring/token"] == lab_secrets.token(MONITORING)
    assert found["servers/acl/services/ticker"].startswith('/v1/acl/policy {"Name"')
    assert not [text for leaf, text in found.items() if leaf.startswith("agents/") and lab_secrets.ca_key in text]


@pytest.mark.parametrize("folder", ["servers", "agents"])
def test_phases_have_configurations_of_their_own(ssm: Any, folder: str) -> None:
    written(ssm, lab_with())
    found = stored(ssm)
    policies = {
        phase: json.loads(found[f"{folder}/consul-{phase}"])["acl"]["default_policy"]
        for phase in ("enforced", "transition")
    }
    assert policies == {"enforced": "deny", "transition": "allow"}


def test_second_up_changes_nothing(ssm: Any) -> None:
    lab = lab_with("ticker")
    assert not ConsulSecrets(ssm, lab).are_written()
    first = written(ssm, lab)
    before = stored(ssm)
    assert ConsulSecrets(ssm, lab).are_written()
    assert written(ssm, lab) == first
    assert stored(ssm) == before


def test_labs_have_their_own_secrets(ssm: Any) -> None:
    assert written(ssm, lab_with()).token(MANAGEMENT) != written(ssm, lab_with(name="green")).token(MANAGEMENT)


def test_gossip_key_of_an_earlier_version_is_kept(ssm: Any) -> None:
    """Running agents use it, and instances that Auto Scaling launches for the old stack read it."""
    key = new_gossip_key()
    LabParameter(ssm, "blue", "gossip-key", kind="SecureString").make(key)
    assert written(ssm, lab_with()).gossip_key == key
    assert stored(ssm)["gossip-key"] == key


@pytest.mark.parametrize("leaf", ["ca", "servers/acl/lab", "tasks/registrator"])
def test_lost_or_changed_parameter_is_written_again(ssm: Any, leaf: str) -> None:
    written(ssm, lab_with())
    before = stored(ssm)
    for damage in (
        lambda name: ssm.delete_parameter(Name=name),
        lambda name: ssm.put_parameter(Name=name, Value="other", Overwrite=True),
    ):
        damage(f"/ecsconsul/blue/{leaf}")
        assert not ConsulSecrets(ssm, lab_with()).are_written()
        written(ssm, lab_with())
        assert stored(ssm) == before


def test_another_consul_gets_its_own_option_names(ssm: Any) -> None:
    lab, newer = lab_with(version="1.8.7"), lab_with(version="1.22.1")
    written(ssm, lab)
    assert "master" in stored(ssm)["servers/consul-enforced"]
    assert not ConsulSecrets(ssm, newer).are_written()
    written(ssm, newer)
    assert "initial_management" in stored(ssm)["servers/consul-enforced"]


def test_services_with_a_ttl_check_are_noticed(ssm: Any) -> None:
    written(ssm, lab_with("ticker"))
    parameters = ConsulSecrets(ssm, lab_with("ticker", "clock"))
    assert not parameters.are_written()
    assert parameters.new_services() == ["clock"]


def test_rotation_leaves_no_old_token_of_a_service_that_has_gone(ssm: Any) -> None:
    """A Consul server that boots later creates the tokens of all parameters that it finds."""
    ssm.put_parameter(Name="/ecsconsul/blue/tasks/theirs", Type="String", Value="theirs")
    written(ssm, lab_with("ticker", "clock"))
    assert {"tasks/clock", "servers/acl/services/clock"} <= stored(ssm).keys()
    parameters = ConsulSecrets(ssm, lab_with("ticker"))
    parameters.replace(rotated(parameters.read()).new)
    assert stored(ssm).keys() & {"tasks/clock", "servers/acl/services/clock"} == set()
    assert {"tasks/ticker", "servers/acl/services/ticker", "tasks/theirs"} <= stored(ssm).keys()


@pytest.mark.parametrize("leaf", ["operator/secrets", "gossip-key", "tasks/registrator"])
def test_untagged_parameter_is_never_touched(ssm: Any, leaf: str) -> None:
    name = f"/ecsconsul/blue/{leaf}"
    ssm.put_parameter(Name=name, Type="String", Value="theirs")
    with pytest.raises(LabError, match="this lab did not make it"):
        written(ssm, lab_with())
    ConsulSecrets(ssm, lab_with()).delete()
    assert stored(ssm) == {leaf: "theirs"}


def test_delete_removes_what_the_config_no_longer_has(ssm: Any) -> None:
    written(ssm, lab_with("ticker"))
    assert ConsulSecrets(ssm, lab_with()).delete() > 10
    assert ConsulSecrets(ssm, lab_with()).delete() == 0
    assert stored(ssm) == {}


def test_two_ups_at_once_agree(ssm: Any) -> None:
    """Both found no secrets; the second one's are not stored, so it must use the first one's."""
    slow = ConsulSecrets(ssm, lab_with())
    assert not slow.are_written()
    first = written(ssm, lab_with())
    assert slow.make() == first


def test_secrets_can_only_be_read_once_they_are_made(ssm: Any) -> None:
    with pytest.raises(TargetAbsent, match="has no secrets yet"):
        ConsulSecrets(ssm, lab_with()).read()
    assert ConsulSecrets(ssm, lab_with()).rotation() is None
    assert written(ssm, lab_with()) == ConsulSecrets(ssm, lab_with()).read()


def test_rotation_is_kept_until_it_ends(ssm: Any) -> None:
    lab = lab_with("ticker")
    rotation = rotated(written(ssm, lab))
    ConsulSecrets(ssm, lab).keep_rotation(rotation)
    ConsulSecrets(ssm, lab).keep_rotation(rotation)
    assert ConsulSecrets(ssm, lab).rotation() == rotation
    ConsulSecrets(ssm, lab).replace(rotation.new)
    assert ConsulSecrets(ssm, lab).rotation() == rotation
    assert ConsulSecrets(ssm, lab).are_written()
    assert stored(ssm)["tasks/ticker"] == rotation.new.token(service_holder("ticker"))
    ConsulSecrets(ssm, lab).keep_rotation(None)
    assert ConsulSecrets(ssm, lab).rotation() is None
    assert max(len(text.encode()) for text in stored(ssm).values()) <= MOST_BYTES


# --- tasks


def test_task_gets_the_token_of_its_service_only() -> None:
    lab = structs.replace(lab_with("ticker"), services=(*lab_with("ticker").services, ServiceSpec(name="w", path="/w")))
    assert task_secrets(lab, "w", ["registrator"]) == NO_SECRETS
    found = task_secrets(lab, "registrator", ["registrator"])
    assert (found.secrets, found.environment) == ({"CONSUL_HTTP_TOKEN": "/ecsconsul/blue/tasks/registrator"}, {})
    found = task_secrets(lab, "ticker", ["registrator"])
    assert found.secrets == {"CONSUL_HTTP_TOKEN": "/ecsconsul/blue/tasks/ticker"}
    assert found.environment == {
        "CONSUL_HTTP_ADDR": "https://172.17.0.1:8501",
        "CONSUL_HTTP_SSL_VERIFY": "false",
    }


def test_address_of_a_tasks_agent_is_that_of_the_boot_script() -> None:
    from ecsconsul.paths import templates_dir

    scripts = "".join(path.read_text() for path in templates_dir().glob("*.sh"))
    assert "BRIDGE=${DOCKER_BRIDGE%/*}" in scripts
    lab = lab_with("t")
    bridged = structs.replace(lab, aws=structs.replace(lab.aws, docker_bridge="100.127.255.1/24"))
    for one, address in ((lab, "172.17.0.1"), (bridged, "100.127.255.1")):
        assert task_secrets(one, "t", []).environment["CONSUL_HTTP_ADDR"] == f"https://{address}:8501"
    assert '"ports": {"https": 8501' in scripts


def test_token_of_a_new_service_works_in_a_running_consul(tmp_path: Path) -> None:
    with secure_consul(tmp_path) as consul:
        address = ConsulAddress(consul.server.address, consul.server.consul.http, "", 0)
        for _ in "12":
            create_service_tokens(address, consul.secrets, ["ticker"])
        url = f"{address.http}/v1/acl/token/self"
        headers = {"X-Consul-Token": consul.secrets.token(service_holder("ticker"))}
        assert requests.get(url, headers=headers, timeout=10).json()["Description"].startswith("ecsconsul service ")


# --- when servers make snapshots


def with_snapshots(spec: SnapshotSpec | None) -> Lab:
    return structs.replace(lab_with(), consul=ConsulSpec(snapshots=spec))


def test_servers_read_when_and_where_they_make_snapshots(ssm: Any) -> None:
    lab = with_snapshots(SnapshotSpec(every="30m", keep="48h", bucket="backups"))
    lab_secrets = written(ssm, lab)
    found = ssm.get_parameter(Name="/ecsconsul/blue/servers/snapshots", WithDecryption=True)["Parameter"]["Value"]
    assert found == f"1800 172800 backups {life_of(lab_secrets)}"
    assert ConsulSecrets(ssm, lab).are_written()
    # a change of the config is one of this parameter alone
    changed = with_snapshots(SnapshotSpec(every="10m", keep="48h", bucket="backups"))
    assert not ConsulSecrets(ssm, changed).are_written()
    written(ssm, changed)
    assert ConsulSecrets(ssm, changed).are_written()


@pytest.mark.parametrize("spec", [None, SnapshotSpec()])
def test_without_a_bucket_there_is_no_such_parameter(ssm: Any, spec: SnapshotSpec | None) -> None:
    written(ssm, with_snapshots(SnapshotSpec(bucket="backups")))
    assert not ConsulSecrets(ssm, with_snapshots(spec)).are_written()
    written(ssm, with_snapshots(spec))
    assert ConsulSecrets(ssm, with_snapshots(spec)).are_written()
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name="/ecsconsul/blue/servers/snapshots")


# --- the authority's certificate on this machine


def test_authority_is_written_for_this_user_and_forgotten(ssm: Any) -> None:
    with pytest.raises(TargetAbsent, match="no certificates yet"):
        authority_file(ssm, "blue")
    lab_secrets = written(ssm, lab_with())
    path = authority_file(ssm, "blue")
    assert path == authority_file(ssm, "blue")
    assert path.read_text() == lab_secrets.ca_certificate
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    forget_authority("blu")
    assert path.exists()
    forget_authority("blue")
    assert not path.exists()
