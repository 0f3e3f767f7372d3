"""Files that include each other, and services that extend each other, more often than anybody would write."""

from __future__ import annotations

import pytest

from ecsconsul.errors import LabError
from tests.importers.examples import from_compose, services_of

WEB = "services:\n  web:\n    image: web:1\n"


def test_files_that_are_included_again_and_again_are_read_once() -> None:
    # as a tree, these would be 2 to the power of 18
    others = {f"f{n}__yml": f"include: [f{n + 1}.yml, ./f{n + 1}.yml]\nservices: {{}}\n" for n in range(18)}
    found = from_compose("include: [f0.yml]\n" + WEB, **others, f18__yml="services:\n  last:\n    image: last:1\n")
    assert services_of(found).keys() == {"web", "last"}


def test_a_circle_of_files_is_named() -> None:
    with pytest.raises(LabError, match="circle"):
        from_compose("include: [a.yml]\n" + WEB, a__yml="include: [b.yml]\n", b__yml="include: [a.yml]\n")


def test_a_long_row_of_extended_services_is_refused() -> None:
    row = "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(3000))
    with pytest.raises(LabError) as caught:
        from_compose(f"services:\n{row}  s3000: {{image: x}}\n")
    assert "in a row" in (caught.value.why or "")


def test_services_of_one_name_in_two_files_are_no_circle() -> None:
    text = "services:\n  web: {extends: base}\n  base: {extends: {file: b.yml, service: web}}\n"
    found = from_compose(text, b__yml="services:\n  web: {extends: base}\n  base: {image: 'web:1'}\n")
    assert services_of(found)["web"]["image"] == "web:1"


@pytest.mark.parametrize(
    "line",
    [
        "mem_limit: " + "9" * 400 + "g",
        "stop_grace_period: " + "9" * 400 + "s",
        "cpus: 1e999",
        "scale: 1e300",
        "ports: ['" + "9" * 5000 + ":80']",
        "ports: ['70000']",
        "ports: ['90-80']",
    ],
)
def test_numbers_beyond_all_bounds_are_refused(line: str) -> None:
    with pytest.raises(LabError, match="isn't valid"):
        from_compose(WEB + f"    {line}\n")


def test_a_huge_number_of_tasks_is_lost_and_not_counted_through() -> None:
    assert "count" not in services_of(from_compose(WEB + "    scale: 1000000000000\n"))["web"]


def test_the_home_of_an_unknown_user_is_no_folder() -> None:
    assert from_compose(WEB + "    env_file: ~nosuchuser/x\n").losses[0][1].path == "services.web.env_file"
