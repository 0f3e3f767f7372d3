"""A lab's directory: its info, its locks, and its leftovers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from ecsconsul.errors import LabError
from ecsconsul.paths import state_folder, write_private
from ecsconsul.region.runtimes.lab_dir import AccessKey, LabDir, RegionInfo, _unless_gone, remove

TIMEOUT = 60.0
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


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@contextmanager
def lax_umask() -> Iterator[None]:
    """Without one, whatever is created without a mode of its own can be read and written by everybody."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "use",
    [
        LabDir.lock_changes,
        LabDir.lock_region,
        LabDir.rotate_logs,
        LabDir.ensure_access_key,
        lambda lab_dir: lab_dir.write_info(INFO),
    ],
)
def test_directory_is_private(lab_dir: LabDir, use: Callable[[LabDir], object]) -> None:
    with lax_umask():
        result = use(lab_dir)
        assert mode(lab_dir.root) == 0o700
        lab_dir.root.chmod(0o755)
        getattr(result, "close", lambda: None)()
        getattr(use(lab_dir), "close", lambda: None)()
        assert mode(lab_dir.root) == 0o700, "an older version left it open"


def test_access_key_is_made_once(lab_dir: LabDir) -> None:
    assert lab_dir.access_key() is None
    assert lab_dir.ensure_access_key()
    key = lab_dir.access_key()
    assert key is not None
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", key.id)
    assert re.fullmatch(r"[A-Za-z0-9/+]{40}", key.secret)
    assert not lab_dir.ensure_access_key()
    assert lab_dir.access_key() == key
    lab_dir.clear_leftovers()
    assert lab_dir.access_key() == key, "it survives a restart of the region"
    lab_dir.clear()
    assert lab_dir.access_key() is None
    assert lab_dir.ensure_access_key()
    assert lab_dir.access_key() != key


def test_access_key_that_others_could_read_is_replaced(lab_dir: LabDir) -> None:
    lab_dir.ensure_access_key()
    key, path = lab_dir.access_key(), lab_dir.root / "access-key.json"
    path.chmod(0o644)
    assert lab_dir.ensure_access_key()
    assert (lab_dir.access_key() == key, mode(path)) == (False, 0o600)
    path.write_text("{")
    assert lab_dir.access_key() is None
    assert lab_dir.ensure_access_key()


def test_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    """Neither the draft nor the file, as seen by a thread that looks all the time."""
    path, seen, done = tmp_path / "secret", set[int](), threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in os.scandir(tmp_path):
                with suppress(FileNotFoundError):
                    seen.add(entry.stat().st_mode & 0o777)

    watcher = threading.Thread(target=watch)
    with lax_umask():
        watcher.start()
        for number in range(300):
            write_private(path, b"x" * number)
        done.set()
        watcher.join(TIMEOUT)
    assert seen <= {0o600}
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    path.chmod(0o666)
    write_private(path, b"new")
    assert (mode(path), path.read_bytes()) == (0o600, b"new")


def test_directory_of_another_user_is_refused(lab_dir: LabDir) -> None:
    """Whoever owns it can read what is written into it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    lab_dir.prepare()
    os.chown(lab_dir.root, 65534, 65534)
    for use in (LabDir.prepare, LabDir.lock_changes, LabDir.ensure_access_key):
        with pytest.raises(LabError, match="belongs to another user"):
            use(lab_dir)


def test_secret_is_in_no_text_about_the_key() -> None:
    key = AccessKey.random()
    assert key.id in repr(key)
    assert key.secret not in f"{key} {key!r}"


def test_link_instead_of_the_directory_is_refused(lab_dir: LabDir, tmp_path: Path) -> None:
    """`down` would otherwise empty the folder that it leads to."""
    (tmp_path / "precious").mkdir()
    lab_dir.root.parent.mkdir(parents=True, exist_ok=True)
    lab_dir.root.symlink_to(tmp_path / "precious")
    with pytest.raises(LabError):
        lab_dir.prepare()


@pytest.mark.parametrize("damage", [b"{", b"{}", b'{"gossip_key": 1}'])
def test_damaged_secrets_are_an_error_that_repeats_nothing_of_them(lab_dir: LabDir, damage: bytes) -> None:
    lab_dir.make_consul_secrets()
    (lab_dir.root / "consul-secrets.json").write_bytes(damage)
    (lab_dir.root / "rotation.json").write_bytes(damage)
    for read in (lab_dir.consul_secrets, lab_dir.rotation):
        with pytest.raises(LabError, match="is damaged") as raised:
            read()
        assert raised.value.hint
        assert not raised.value.why
    assert not lab_dir.has_consul_secrets()
    lab_dir.make_consul_secrets()
    assert lab_dir.has_consul_secrets()
    assert lab_dir.rotation() is None, "it was of the lost secrets"


def test_secrets_are_made_once(lab_dir: LabDir) -> None:
    with pytest.raises(LabError, match="are missing"):
        lab_dir.consul_secrets()
    lab_dir.make_consul_secrets()
    made = lab_dir.consul_secrets()
    lab_dir.make_consul_secrets()
    assert lab_dir.consul_secrets() == made


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
        process.wait(TIMEOUT)
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
            start.wait(TIMEOUT)
            try:
                remove(folder)
            except OSError as error:
                failures.append(str(error))

        leaving = threading.Thread(target=terminate, args=(lab_dir.instances / f"i-{attempt}",))
        leaving.start()
        start.wait(TIMEOUT)
        lab_dir.clear()
        leaving.join(TIMEOUT)
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


def test_what_a_task_made_read_only_is_removed(tmp_path: Path) -> None:
    """Root may remove it anyway, so here is what its owner gets."""
    for closed in (tmp_path / "a", tmp_path / "b"):
        closed.mkdir()
        (closed / "file").write_text("")
    (tmp_path / "a").chmod(0o500)
    _unless_gone(None, str(tmp_path / "a" / "file"), PermissionError())
    assert not (tmp_path / "a" / "file").exists()
    (tmp_path / "b").chmod(0)
    _unless_gone(None, str(tmp_path / "b"), PermissionError())
    assert not (tmp_path / "b").exists()
    (tmp_path / "c").mkdir()
    with pytest.raises(PermissionError):
        _unless_gone(None, str(tmp_path / "c"), PermissionError())
