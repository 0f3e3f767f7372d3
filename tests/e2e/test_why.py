"""`why` names the fault of a real lab in its first line; tests/observe/test_causes.py has the other faults."""

from __future__ import annotations

from tests.e2e.lab import Lab


def first_line(lab: Lab, name: str, code: int = 1) -> str:
    result = lab.run("why", name)
    assert result.code == code, result.out + result.err
    return result.out.splitlines()[0]


def test_names_that_are_found_and_names_that_are_not(lab: Lab) -> None:
    found = lab.ok("why", "http.weather.service.consul", "--output", "json").document
    assert (found["fine"], found["cause"], found["text"]) == (
        True, None, "http.weather.service.consul. is found: 1 SRV record",
    )  # fmt: skip
    assert "1 instance accepting connections" in found["holds"]
    typo = f"There is no service wether in the lab {lab.name}; did you mean weather?"
    assert first_line(lab, "wether") == typo
    assert first_line(lab, "v9.weather.service.consul") == "No instance of weather has the tag v9; they have http"


def test_count_of_zero_is_named(lab: Lab) -> None:
    with lab.scaled("weather=0"):
        assert first_line(lab, "_weather._tcp") == "The service weather has a count of 0, so ECS runs no task"


def test_what_is_no_service_name_is_refused_before_anything_is_asked(lab: Lab) -> None:
    assert lab.run("why", "www.example.com").code == 2


def test_top_shows_what_each_task_uses(lab: Lab) -> None:
    tasks = lab.ok("top", "--output", "json").document["tasks"]
    assert {task["service"] for task in tasks} == {"portal", "stock-price", "weather"}
    for task in tasks:
        # a Python program with a web framework
        assert 5 < task["memory"] <= task["memory_limit"]
        assert task["cpu"] >= 0


def test_keys_are_written_and_read(lab: Lab) -> None:
    key = "tests/a key/with ?&"
    lab.ok("kv", "put", key, "sunny")
    assert lab.ok("kv", "get", key).out == "sunny"
    assert lab.ok("kv", "get", key, "--output", "json").document == {"key": key, "value": "sunny"}
    absent = lab.run("kv", "get", "tests/absent")
    assert (absent.code, absent.out) == (1, "")
    assert "Consul has no key tests/absent" in absent.err
