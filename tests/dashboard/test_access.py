"""Who may read the dashboard: only the browser that used the link, only under this server's own name."""

from __future__ import annotations

import pytest

from ecsconsul.dashboard.access import ENTRANCE, Access, Decision

PORT = 4000
HOST = {"Host": f"127.0.0.1:{PORT}"}


def admitted() -> tuple[Access, dict[str, str]]:
    access = Access(PORT)
    assert access.decide(access.url.partition(str(PORT))[2], HOST) is Decision.ADMIT
    return access, {**HOST, "Cookie": access.set_cookie.partition(";")[0]}


def test_the_link_works_once_and_is_replaced() -> None:
    access = Access(PORT)
    path = access.url.partition(str(PORT))[2]
    assert access.decide(path, HOST) is Decision.ADMIT
    assert access.decide(path, HOST) is Decision.REFUSE
    assert access.url.partition(str(PORT))[2] != path


def test_the_cookie_serves_its_path_alone() -> None:
    access, given = admitted()
    assert access.decide(f"{access.room}state", given) is Decision.SERVE
    assert access.decide("/", given) is Decision.REFUSE
    assert access.decide(access.room, HOST) is Decision.REFUSE
    assert f"Path={access.room}; HttpOnly; SameSite=Strict" in access.set_cookie


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": f"evil.example:{PORT}"},
        {"Host": "127.0.0.1"},
        {"Host": f"127.0.0.1:{PORT + 1}"},
        {"Host": "?"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{PORT + 1}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Cookie": "ecsconsul=x"},
        {"Cookie": "other=1"},
        {"Cookie": "a=\x00;;=="},
        {"Cookie": ""},
    ],
)
def test_everybody_else_is_refused(headers: dict[str, str]) -> None:
    access, given = admitted()
    assert access.decide(access.room, {**given, **headers}) is Decision.REFUSE


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": f"localhost:{PORT}"},
        {"Origin": f"http://127.0.0.1:{PORT}"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_page_itself_is_served(headers: dict[str, str]) -> None:
    access, given = admitted()
    assert access.decide(access.room, {**given, **headers}) is Decision.SERVE


def test_a_wrong_token_leaves_the_right_one() -> None:
    access = Access(PORT)
    path = access.url.partition(str(PORT))[2]
    assert access.decide(f"{ENTRANCE}x", HOST) is Decision.REFUSE
    assert access.decide(f"{ENTRANCE}ü", HOST) is Decision.REFUSE
    assert access.decide(path, {"Host": f"evil.example:{PORT}"}) is Decision.REFUSE
    assert access.decide(path, {**HOST, "Sec-Fetch-Site": "cross-site"}) is Decision.ADMIT
