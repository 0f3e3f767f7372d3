"""Services that named each other find each other by Consul: what is noted, renamed and fixed."""

from __future__ import annotations

import pytest

from ecsconsul.importers.draft import ServiceDraft
from ecsconsul.importers.references import references_in
from tests.importers.examples import from_compose, lab_of, said, services_of

DB = ServiceDraft("db")


@pytest.mark.parametrize(
    ("variable", "value", "port"),
    [
        ("DB_HOST", "db", 0),
        ("DATABASE_URL", "postgres://user:pw@db:5432/app", 5432),
        ("X", "http://db/", 0),
        ("X", "db:5432", 5432),
        ("PEERS", "a,db,c", 0),
        ("X", "tcp://db:1,tcp://other:2", 1),
        ("X", "http://db.prod.local:80", 80),
    ],
)
def test_a_host_is_found(variable: str, value: str, port: int) -> None:
    assert [(one.port, one.service) for one in references_in(value, f"environment.{variable}", {"db": DB})] == [
        (port, DB)
    ]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("environment.POSTGRES_DB", "db"),
        ("environment.MYSQL_USER", "db"),
        ("environment.X", "db"),
        ("environment.URL", "http://db.example.com"),
        ("environment.HOST", "my-db"),
        ("environment.HOST", "db-2"),
        ("command", "load db now"),
    ],
)
def test_a_word_is_no_host(place: str, value: str) -> None:
    assert list(references_in(value, place, {"db": DB})) == []


def test_a_service_that_others_name_keeps_the_port_they_expect() -> None:
    imported = from_compose("services:\n  web: {image: w, environment: {DB: 'db:5432'}}\n  db: {image: postgres}\n")
    db = lab_of(imported).service("db")
    assert db is not None and (db.port, db.host_port) == (5432, 5432)
    assert "db is found by Consul as db.service.consul" in said(imported)


def test_several_tasks_cannot_share_a_fixed_port() -> None:
    imported = from_compose(
        "services:\n  web: {image: w, environment: {R: 'redis://redis'}}\n  redis: {image: redis, scale: 2}\n"
    )
    assert "host_port" not in services_of(imported)["redis"]
    assert "ask SRV for it" in said(imported)


def test_a_published_port_that_differs_is_pointed_out() -> None:
    imported = from_compose(
        "services:\n  web: {image: w, environment: {U: 'http://api:80'}}\n  api: {image: a, ports: ['8000:80']}\n"
    )
    assert "at port 8000 (its host_port) instead of 80" in said(imported)


def test_an_unknown_image_has_the_port_that_others_name() -> None:
    imported = from_compose("services:\n  web: {image: w, command: wait api:7000}\n  api: {image: a}\n")
    api = services_of(imported)["api"]
    assert (api["port"], api["host_port"]) == (7000, 7000)
    assert services_of(imported)["web"]["command"] == "wait api:7000"


def test_names_that_are_no_names_here_are_written_anew() -> None:
    imported = from_compose(
        "services:\n  web: {image: w, environment: {A: 'x://my_db:1', B: cache_1, HOST: pg}, links: ['my_db:pg']}\n"
        "  my_db: {image: postgres, container_name: the_db}\n"
    )
    assert services_of(imported)["web"]["environment"] == {"A": "x://my-db:1", "B": "cache_1", "HOST": "my-db"}
    assert "my_db is my-db.service.consul here" in said(imported)


def test_a_word_that_was_a_services_name_is_asked_about() -> None:
    """Nothing tells whether it means the service, whose name is another one here."""
    imported = from_compose(
        "services:\n  web: {image: w, environment: {DB: my_db}, entrypoint: /start my_db}\n  my_db: {image: postgres}\n"
    )
    assert services_of(imported)["web"]["environment"] == {"DB": "my_db"}
    assert said(imported).count("if my_db is the service, change it: here it is called my-db") == 2


def test_secrets_are_kept_and_pointed_out() -> None:
    imported = from_compose(
        "services:\n  web: {image: w, environment: {DB_PASSWORD: hunter2, X_PASSWORD_FILE: /f, EMPTY_PASSWORD: 'yes',"
        " URL: 'p://u:pw@h/', API_KEY: k}}\n"
    )
    assert services_of(imported)["web"]["environment"]["DB_PASSWORD"] == "hunter2"  # type: ignore[index]
    assert imported.text.count("looks like a secret") == 3
    assert imported.text.count("hunter2") == 1
