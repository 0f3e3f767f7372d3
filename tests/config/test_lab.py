"""The lab's types are frozen, and have defaults and constraints that msgspec enforces."""

import msgspec
import pytest

from ecsconsul.config.container_spec import Check
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.config.scalars import Duration, HttpPath, Name, Tag


def test_defaults():
    service = ServiceSpec(name="weather", path="/weather")
    assert (service.port, service.host_port, service.count, service.cpu, service.memory) == (
        4567,
        None,
        1,
        100,
        200,
    )
    assert Lab() == Lab(name="consul-lab", target="local", instances=2)
    assert Check(http="/health").interval == "10s"


def test_find_service_by_name():
    lab = Lab(services=(ServiceSpec(name="weather", path="/w"), ServiceSpec(name="portal", path="/p")))
    assert lab.service("portal") is lab.services[1]
    assert lab.service("stock-price") is None


def test_lab_is_immutable():
    with pytest.raises(AttributeError):
        Lab().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wanted", "right", "wrong"),
    [
        (
            Name,
            ["ab", "stock-price", "a2", "a" * 32],
            ["a", "2a", "-ab", "ab-", "A", "a_b", "a" * 33, "a.b", ""],
        ),
        (
            Duration,
            ["500ms", "10s", "1m", "24h", "010s"],
            ["10", "0s", "00ms", "1.5s", "1m30s", "10 s", "-1s", ""],
        ),
        (HttpPath, ["/", "/health?deep=1"], ["health", "", "/a b", "http://a/"]),
        (Tag, ["http", "urlprefix-/a b"], ["", " "]),
    ],
)
def test_patterns(wanted, right, wrong):
    for value in right:
        assert msgspec.convert(value, wanted) == value
    for value in wrong:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, wanted)
