"""The picture is well-formed, shows each task, and trusts no text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.dashboard.drawing import WIDTH, depths, draw, planned
from ecsconsul.dashboard.lookups import Lookup
from ecsconsul.dashboard.mermaid import mermaid
from ecsconsul.observe.overview import Overview, overview
from tests.observe.samples import consul, ecs, endpoint, seen, service, task

EDGES = (Lookup("portal", "weather", ("W in the config",)),)
SVG = "{http://www.w3.org/2000/svg}"


def shown(tasks: int = 1, **more: object) -> Overview:
    services = (service(tasks, tasks), service(1, 0, name="portal"))
    all_tasks = [task(id=f"{n:08x}" + "0" * 24, port=32768 + n) for n in range(tasks)]
    found = consul(*(endpoint(port=32768 + n) for n in range(tasks)))
    return overview(seen(ecs=ecs(*all_tasks, services=services), consul=found, **more))


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def texts(root: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in root.iter() if node.text]


def test_services_tasks_and_lookups_are_in_it() -> None:
    root = parsed(draw(shown(), EDGES, "lab"))
    found = texts(root)
    assert "portal looks up weather: W in the config" in found
    assert {"weather", "portal", "i-0a1b", ":32768 0000", "1/1 running, 1 passing", "weather:1"} <= set(found)
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "2 services on 1 instance. portal: 0/1 running, 0 passing. weather: 1/1 running, 1 passing."
        " portal looks up weather"
    )
    assert list(root.iter(f"{SVG}style")) == [], "the page has the style"


def test_alone_it_brings_its_style_for_light_and_dark() -> None:
    [style] = parsed(draw(shown(), EDGES, "lab", standalone=True)).iter(f"{SVG}style")
    assert "prefers-color-scheme:dark" in (style.text or "")


def test_a_thousand_tasks_are_squares_that_fit() -> None:
    root = parsed(draw(shown(1000), EDGES, "lab"))
    squares = [one for one in root.iter(f"{SVG}rect") if one.get("width") == "12"]
    assert len(squares) == 1000
    height = int(root.get("height") or 0)
    assert all(float(one.get("x") or 0) + float(one.get("width") or 0) <= WIDTH for one in root.iter(f"{SVG}rect"))
    assert all(float(one.get("y") or 0) + 12 <= height for one in squares)


def test_nothing_lies_on_anything() -> None:
    services = tuple(service(1, 0, name=f"s{n}") for n in range(20))
    root = parsed(draw(overview(seen(ecs=ecs(services=services), consul=consul())), (), "lab"))
    places = [(one.get("x"), one.get("y")) for one in root.iter(f"{SVG}rect") if one.get("class") == "box"]
    assert len(set(places)) == 20


def test_names_are_text() -> None:
    evil = '</text><script>"&'
    strange = overview(seen(ecs=ecs(services=(service(name=evil),)), consul=consul()))
    root = parsed(draw(strange, (Lookup(evil, "weather", (evil,)),), "lab"))
    assert evil in texts(root)
    assert "<script" not in mermaid(strange, ())


def test_a_deployment_rolls() -> None:
    new = task(id="9c1d" + "0" * 28, port=32769, revision="lab-weather:2")
    services = (service(2, 2, revision=2),)
    both = seen(ecs=ecs(task(), new, services=services), consul=consul(endpoint(), endpoint(port=32769)))
    assert "rolling to weather:2: 1 of 2" in texts(parsed(draw(overview(both), (), "lab")))


def test_a_lab_that_does_not_run_is_drawn_as_planned() -> None:
    lab = Lab(services=(ServiceSpec(name="weather", count=3), ServiceSpec(name="portal")))
    found = texts(parsed(draw(planned(lab), EDGES, "lab")))
    assert {"3 tasks", "1 task"} <= set(found)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([("a", "b"), ("b", "c")], {"a": 0, "b": 1, "c": 2}),
        ([("a", "b"), ("a", "c"), ("b", "c")], {"a": 0, "b": 1, "c": 2}),
        ([("a", "b"), ("x", "c")], {"a": 0, "b": 1, "c": 0}),
    ],
)
def test_a_service_is_right_of_those_that_look_it_up(edges: list[tuple[str, str]], expected: dict[str, int]) -> None:
    assert depths(["a", "b", "c"], [Lookup(*edge, ()) for edge in edges]) == expected


def test_a_circle_of_lookups_ends() -> None:
    found = depths(["a", "b"], [Lookup("a", "b", ()), Lookup("b", "a", ())])
    assert set(found) == {"a", "b"}
    parsed(draw(shown(), [*EDGES, Lookup("weather", "portal", ("P",))], "lab"))


def test_mermaid_has_services_lookups_and_tasks() -> None:
    assert mermaid(shown(), EDGES) == (
        "flowchart LR\n"
        '  s0("portal<br>0/1 running, 0 passing")\n'
        '  s1("weather<br>1/1 running, 1 passing")\n'
        "  s0 -. looks up .-> s1\n"
        '  subgraph n0["i-0a1b"]\n'
        '    n0t0["weather 00000000<br>127.0.9.2:32768"]\n'
        "  end\n"
        "  s1 --> n0t0\n"
    )
