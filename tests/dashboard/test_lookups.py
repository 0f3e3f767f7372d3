"""Lookups are read from variables, and their values are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.config.loader import load
from ecsconsul.dashboard.lookups import Lookup, image_variables, lookups, names_in


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("weather", ["weather"]),
        ("weather:4567", ["weather"]),
        ("http://weather/now", ["weather"]),
        ("postgres://user:secret@db:5432/app", ["db"]),
        ("http.weather.service.consul", ["weather"]),
        ("a=weather.service.dc1.consul,b=DB.service.consul:5432", ["weather", "db"]),
        ("the weather today", []),
        ("weather.example.com", []),
        ("", []),
    ],
)
def test_names_in_a_value(value: str, names: list[str]) -> None:
    assert names_in(value) == names


def lab(environment: dict[str, str]) -> Lab:
    return Lab(services=(ServiceSpec(name="portal", environment=environment), ServiceSpec(name="weather")))


def test_a_variable_of_the_config_or_the_image_names_a_service() -> None:
    found = lookups(lab({"BACK": "http://k:s3cret@weather/"}), {"portal": {"WEATHER_SERVICE": "weather"}})
    assert found == (Lookup("portal", "weather", ("BACK in the config", "WEATHER_SERVICE in the Dockerfile")),)
    assert "s3cret" not in repr(found)


def test_the_configs_variable_replaces_the_images() -> None:
    assert lookups(lab({"WEATHER_SERVICE": "none"}), {"portal": {"WEATHER_SERVICE": "weather"}}) == ()


def test_a_service_does_not_look_itself_up() -> None:
    assert lookups(lab({"SELF": "portal"}), {}) == ()


def test_the_portal_of_the_built_in_lab_looks_up_both_others() -> None:
    built_in = load(None)
    found = {(one.caller, one.service) for one in lookups(built_in, image_variables(built_in))}
    assert found == {("portal", "stock-price"), ("portal", "weather")}


def test_a_folder_without_a_dockerfile_says_nothing(tmp_path: Path) -> None:
    there = Lab(services=(ServiceSpec(name="a", path=str(tmp_path)), ServiceSpec(name="b", path="/nowhere")))
    assert image_variables(there) == {"a": {}}
