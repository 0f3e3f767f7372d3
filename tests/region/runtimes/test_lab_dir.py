"""Where a lab lives: its facts, its locks, and what is left of it."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ecsconsul.region.runtimes.lab_dir import LabDir, RegionInfo, remove, state_folder

FACTS = RegionInfo(
    pid=1,
    version="0",
    lab="lab",
    region="us-east-1",
    endpoint="http://127.0.0.1:5566",
    consul_http="127.0.0.1:8500",
    consul_dns="127.0.0.1:8600",
    forwarded_ports=(8080,),
    vpc_id="vpc-1",
    subnet_ids=("subnet-1",),
)


def test_labs_live_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECSCONSUL_HOME", "here")
    assert state_folder() == tmp_path / "here"
    monkeypatch.setenv("ECSCONSUL_HOME", "")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if sys.platform.startswith("linux"):
        assert state_folder() == tmp_path / "state" / "ecsconsul"


def test_facts_count_while_their_region_lives(home: LabDir) -> None:
    assert home.info() is None
    assert not home.is_alive()
    home.write_info(FACTS)
    assert home.info() is None, "a dead region's"
    with home.lock_region():
        assert home.is_alive()
        assert home.info() == FACTS
        home.write_info(replace(FACTS, forwarded_ports=(8081, 8082)))
        assert home.info() == replace(FACTS, forwarded_ports=(8081, 8082))
    assert home.info() is None


def test_what_a_newer_version_adds_is_passed_over_and_half_a_file_is_none(home: LabDir) -> None:
    home.write_info(FACTS)
    path = home.root / "region.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    with home.lock_region():
        assert home.info() == FACTS
        path.write_text('{"pid": 1')
        assert home.info() is None


def test_a_lock_is_held_by_one_and_dies_with_its_holder(home: LabDir) -> None:
    code = (
        "import sys; from ecsconsul.region.runtimes.lab_dir import LabDir; lock = LabDir('lab').lock_region();"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert home.is_alive()
        with pytest.raises(BlockingIOError):
            home.lock_region()
        home.lock_changes().close()
        holder.kill()
        holder.wait(5)
    assert not home.is_alive()
    home.lock_region().close()


def test_clear_leaves_the_logs_alone(home: LabDir) -> None:
    home.write_info(FACTS)
    for folder in (home.logs / "services", home.images / "weather", home.instances / "i-1" / "data", home.tasks):
        folder.mkdir(parents=True)
    (home.root / "link").symlink_to("/")
    assert {path.name for path in home.leftovers()} == {"images", "link", "machines", "region.json", "tasks"}
    home.clear()
    assert [path.name for path in home.root.iterdir()] == ["logs"]
    assert home.leftovers() == []
    home.clear()
    assert LabDir("never").leftovers() == []
    LabDir("never").clear()


def test_the_locks_go_last(home: LabDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes them from then on must lose nothing of its own."""
    home.write_info(FACTS)
    home.lock_region().close()
    home.images.mkdir()
    removed: list[str] = []

    def noted(path: Path) -> None:
        removed.append(path.name)
        remove(path)

    monkeypatch.setattr("ecsconsul.region.runtimes.lab_dir.remove", noted)
    with home.lock_changes():
        home.clear()
    assert removed[-2:] == ["region.lock", "walk.lock"]
    assert sorted(removed[:-2]) == ["images", "region.json"]


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(home: LabDir, monkeypatch: pytest.MonkeyPatch) -> None:
    home.lock_changes().close()
    flock, removed = fcntl.flock, []

    def after_a_down(file: object, how: int) -> None:
        if not removed:
            removed.append((home.root / "walk.lock").unlink())
        flock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", after_a_down)
    with home.lock_changes(), pytest.raises(BlockingIOError):
        home.lock_changes()


def test_two_may_remove_the_same_at_the_same_time(home: LabDir) -> None:
    """A machine that is leaving removes its folder while the region clears up after itself."""
    for attempt in range(10):
        for number in range(150):
            (home.instances / f"i-{attempt}" / str(number)).mkdir(parents=True)
        (home.root / "zzz").write_text("")
        start, failures = threading.Barrier(2), []

        def leave(folder: Path, start: threading.Barrier = start, failures: list[str] = failures) -> None:
            start.wait(5)
            try:
                remove(folder)
            except OSError as error:
                failures.append(str(error))

        leaving = threading.Thread(target=leave, args=(home.instances / f"i-{attempt}",))
        leaving.start()
        start.wait(5)
        home.clear()
        leaving.join(10)
        assert failures == []
        assert home.leftovers() == []


def test_remove_takes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept" / "file").mkdir(parents=True)
    (tmp_path / "link").symlink_to("kept")
    remove(tmp_path / "link")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_the_logs_of_the_life_before_are_kept_and_those_before_it_are_not(home: LabDir) -> None:
    for life in ("one", "two", "three"):
        home.rotate_logs()
        (home.logs / f"{life}.log").write_text("")
    home.rotate_logs()
    assert [path.name for path in (home.logs / "previous").iterdir()] == ["three.log"]
