"""Templates in tags: what Go's text/template would print, and a reason for what it would refuse."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.tag_templates import TemplateInvalid, render

CONTAINER: dict[str, Any] = {
    "ID": "0123456789abcdef",
    "Name": "/web.1",
    "Config": {"Hostname": "c1", "Env": ["A=1", "B=2"], "Labels": {"team": "Shop", "a-b": "x"}},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("plain,tags", "plain,tags"),
        ("host-{{.Config.Hostname}},web", "host-c1,web"),
        ("{{ .Config.Hostname }}-{{.Name}}", "c1-/web.1"),
        ("{{- .Config.Hostname -}}", "c1"),
        ("{{toUpper .Config.Hostname}}", "C1"),
        ("{{.Config.Hostname | toUpper}}", "C1"),
        ('{{mIndex "team" .Config.Labels | toLower}}', "shop"),
        ('{{index .Config.Labels "a-b"}}', "x"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{index .Config.Env 1}}", "B=2"),
        ('{{splitIndex 1 "." .Name}}', "1"),
        ('{{splitIndex -1 "." .Name}}', "1"),
        ('{{splitIndex 9 "." .Name}}', "1"),
        ('{{splitIndex -9 "." .Name}}', "/web"),
        ("{{sIndex 0 .Config.Env}}", "A=1"),
        ('{{join "," .Config.Env}}', "A=1,B=2"),
        ('{{split "." .Name | join "+"}}', "/web+1"),
        ("{{strSlice .ID 0 4}}", "0123"),
        ("{{strSlice .ID 12}}", "cdef"),
        ("{{strSlice .ID 99}}", "0123456789abcdef"),
        ('{{replace -1 "/" "" .Name}}', "web.1"),
        ('{{replace 1 "." "" (replace -1 "/" "" .Name)}}', "web1"),
        ('{{"a \\" b"}}', 'a " b'),
        ("{{`raw`}}", "raw"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[a-b:x team:Shop]"),
    ],
)
def test_template_is_carried_out(template: str, text: str) -> None:
    assert render(template, CONTAINER) == text


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{.Config.Hostnam}}", "the container has no .Config.Hostnam"),
        ("{{.ID.x}}", "the container has no .ID.x"),
        ("{{}}", "an action is empty"),
        ("{{.ID | }}", "an action is empty"),
        ("{{.ID", "not closed by }}"),
        ("{{(.ID}}", "a parenthesis is not closed"),
        ("{{.ID)}}", "')' is not expected"),
        ("{{.ID .Name}}", "'.ID' is not a function"),
        ('{{httpGet "http://169.254.169.254/"}}', "there is no function 'httpGet'"),
        ("{{toUpper}}", "toUpper:"),
        ("{{toUpper 1}}", "toUpper:"),
        ("{{index .Config.Env 9}}", "index:"),
        ("{{sIndex 0 (split 1 .ID)}}", "split:"),
        ("{{toUpper lower}}", "texts are quoted"),
        ("{{ .ID % }}", "can't be read"),
        ('{{"\\q"}}', "can't be read"),
    ],
)
def test_template_that_cannot_be_carried_out_says_why(template: str, why: str) -> None:
    with pytest.raises(TemplateInvalid, match=why.replace("(", r"\(").replace(")", r"\)").replace(".", r"\.")):
        render(template, CONTAINER)


def nested(function: str, depth: int) -> str:
    return f"{function} (" * depth + ".ID" + ")" * depth


HOSTILE = {
    "deep parentheses": ("{{" + "(" * 3000 + ".ID" + ")" * 3000 + "}}", "nested"),
    "a number of many digits": ("{{index .Config.Env " + "9" * 6000 + "}}", "can't be read"),
    "a count beyond any text": ("{{replace " + "9" * 40 + ' "0" "" .ID}}', "replace:"),
    "a text that grows": ("{{" + nested('replace -1 "" "' + "a" * 90 + '"', 8) + "}}", "longer than"),
    "a list joined by a long text": (f'{{{{split "0" "{"0" * 3000}" | join "{"a" * 3000}"}}}}', "longer than"),
    "many long texts": ('{{join "' + "a" * 4000 + '" .Config.Env}}' + "{{.Config.Labels.long}}" * 5, "longer than"),
    "a long label": ('{{mIndex "long" .Config.Labels | toLower | toLower}}', "longer than"),
    "actions that aren't closed": ("{{.ID" * 100_000, "longer than"),
    "blanks": ("{{" + " " * 8000 + "!}}", "can't be read"),
    "backslashes": ('{{"' + "\\" * 4000 + "}}", "can't be read"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_template_meant_to_do_harm_is_refused_at_once(kind: str) -> None:
    """Whoever starts a container writes it: it must cost neither the Registrator's memory nor its time."""
    template, why = HOSTILE[kind]
    labels = {"long": "a" * 5_000_000}
    before = time.process_time()
    with pytest.raises(TemplateInvalid, match=why):
        render(template, {**CONTAINER, "Config": {**CONTAINER["Config"], "Labels": labels}})
    assert time.process_time() - before < 2.0


@given(st.text(alphabet='{}.|()"`\\ -09aID joinsplt,', max_size=40))
def test_no_template_does_worse(text: str) -> None:
    with suppress(TemplateInvalid):
        render(text, CONTAINER)
