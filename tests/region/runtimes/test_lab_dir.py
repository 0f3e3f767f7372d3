"""A lab's directory: its info, its locks, and its leftovers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from ecsconsul.region.runtimes.lab_dir import LabDir, RegionInfo, remove, state_folder

INFO = RegionInfo(
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


def test_state_folder_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECSCONSUL_HOME", "here")
    assert state_folder() == tmp_path / "here"
    monkeypatch.setenv("ECSCONSUL_HOME", "")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if sys.platform.startswith("linux"):
        assert state_folder() == tmp_path / "state" / "ecsconsul"


def test_info_is_valid_only_while_the_region_runs(lab_dir: LabDir) -> None:
    assert lab_dir.info() is None
    assert not lab_dir.is_alive()
    lab_dir.write_info(INFO)
    assert lab_dir.info() is None, "no region runs"
    with lab_dir.lock_region():
        assert lab_dir.is_alive()
        assert lab_dir.info() == INFO
        lab_dir.write_info(replace(INFO, forwarded_ports=(8081, 8082)))
        assert lab_dir.info() == replace(INFO, forwarded_ports=(8081, 8082))
    assert lab_dir.info() is None


def test_unknown_keys_and_incomplete_files_are_ignored(lab_dir: LabDir) -> None:
    lab_dir.write_info(INFO)
    path = lab_dir.root / "region.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    with lab_dir.lock_region():
        assert lab_dir.info() == INFO
        path.write_text('{"pid": 1')
        assert lab_dir.info() is None


def test_lock_is_exclusive_and_ends_with_its_process(lab_dir: LabDir) -> None:
    code = (
        "import sys; from ecsconsul.region.runtimes.lab_dir import LabDir; lock = LabDir('lab').lock_region();"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"locked\n"
        assert lab_dir.is_alive()
        with pytest.raises(BlockingIOError):
            lab_dir.lock_region()
        lab_dir.lock_changes().close()
        process.kill()
        process.wait(5)
    assert not lab_dir.is_alive()
    lab_dir.lock_region().close()


def test_clear_keeps_the_logs(lab_dir: LabDir) -> None:
    lab_dir.write_info(INFO)
    for folder in (
        lab_dir.logs / "services",
        lab_dir.images / "weather",
        lab_dir.instances / "i-1" / "data",
        lab_dir.tasks,
    ):
        folder.mkdir(parents=True)
    (lab_dir.root / "link").symlink_to("/")
    assert {path.name for path in lab_dir.leftovers()} == {"images", "instances", "link", "region.json", "tasks"}
    lab_dir.clear()
    assert [path.name for path in lab_dir.root.iterdir()] == ["logs"]
    assert lab_dir.leftovers() == []
    lab_dir.clear()
    assert LabDir("never").leftovers() == []
    LabDir("never").clear()


def test_locks_are_removed_last(lab_dir: LabDir) -> None:
    """The next command takes the lock of changes first, so that one goes last of all."""
    lab_dir.write_info(INFO)
    lab_dir.lock_region().close()
    lab_dir.tasks.mkdir()
    with lab_dir.lock_changes():
        names = [path.name for path in lab_dir.leftovers()]
        lab_dir.clear()
    assert names == ["region.json", "tasks", "region.lock", "change.lock"]
    assert lab_dir.leftovers() == []


def test_folder_can_be_removed_twice_at_the_same_time(lab_dir: LabDir) -> None:
    """An instance that leaves removes its folder while the region cleans up."""
    for attempt in range(10):
        for number in range(150):
            (lab_dir.instances / f"i-{attempt}" / str(number)).mkdir(parents=True)
        (lab_dir.root / "zzz").write_text("")
        start, failures = threading.Barrier(2), []

        def terminate(folder: Path, start: threading.Barrier = start, failures: list[str] = failures) -> None:
            start.wait(5)
            try:
                remove(folder)
            except OSError as error:
                failures.append(str(error))

        leaving = threading.Thread(target=terminate, args=(lab_dir.instances / f"i-{attempt}",))
        leaving.start()
        start.wait(5)
        lab_dir.clear()
        leaving.join(10)
        assert failures == []
        assert lab_dir.leftovers() == []


def test_remove_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "kept" / "file").mkdir(parents=True)
    (tmp_path / "link").symlink_to("kept")
    remove(tmp_path / "link")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_only_the_logs_of_the_previous_run_are_kept(lab_dir: LabDir) -> None:
    for run in ("one", "two", "three"):
        lab_dir.rotate_logs()
        (lab_dir.logs / f"{run}.log").write_text("")
    lab_dir.rotate_logs()
    assert [path.name for path in (lab_dir.logs / "previous").iterdir()] == ["three.log"]
