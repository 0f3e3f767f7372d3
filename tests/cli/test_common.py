"""Settings add this call's options to the commands in a text, and find the services to act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.cli.common import RUNTIME_VARIABLE, Settings


@pytest.fixture(autouse=True)
def without_runtime_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("given", "text", "told"),
    [
        (Settings(), "`ecsconsul up` starts it", "`ecsconsul up` starts it"),
        (Settings(target="aws"), "`ecsconsul up` starts it", "`ecsconsul up --target aws` starts it"),
        (Settings(target="aws"), "ecsconsul down --yes", "ecsconsul down --target aws --yes"),
        (Settings(target="aws"), "`ecsconsul down --target aws` has", "`ecsconsul down --target aws` has"),
        (Settings(config=Path("a b.yaml")), "ecsconsul dig web", "ecsconsul dig --config 'a b.yaml' web"),
        (
            Settings(config=Path("x.yaml"), profile="me", region="eu-west-1"),
            "`ecsconsul up` or `ecsconsul down` takes it",
            "`ecsconsul up --config x.yaml --profile me --region eu-west-1` or "
            "`ecsconsul down --config x.yaml --profile me --region eu-west-1` takes it",
        ),
        (
            Settings(runtime="docker"),
            "`ecsconsul up`; `ecsconsul down`",
            "`ecsconsul up --runtime docker`; `ecsconsul down`",
        ),
        (Settings(runtime="docker"), "ecsconsul up --runtime processes", "ecsconsul up --runtime processes"),
        (Settings(target="aws"), "is the lab up (ecsconsul status)?", "is the lab up (ecsconsul status --target aws)?"),
        (Settings(target="aws"), "ecsconsul: an ecsconsul update", "ecsconsul: an ecsconsul update"),
    ],
)
def test_commands_in_a_text_get_the_options_of_this_call(given: Settings, text: str, told: str) -> None:
    assert given.with_options(text) == told


def test_runtime_from_the_environment_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, "processes")
    assert Settings(runtime="processes").with_options("`ecsconsul up`") == "`ecsconsul up`"
