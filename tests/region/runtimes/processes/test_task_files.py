"""A task finds its image's files at their paths: in a root of its own where the kernel permits one, and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes import task_files
from ecsconsul.region.runtimes.processes.images import ImageStore, copy_for_task
from ecsconsul.region.runtimes.processes.task_files import TaskFiles, can_have_own_root, entering
from tests.require import require

REPORT = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("WHERE"), open(sys.argv[1]).read()]))
"""
ENTRY = '#!/bin/sh\nset -e\nexec "$@"\n'


@pytest.fixture(params=[True, False], ids=["own root", "mapped"])
def own_root(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    if request.param:
        require("root", can_have_own_root(tmp_path), "this kernel gives no program a root of its own")
    return bool(request.param)


def files_of(lab_dir: LabDir, folder: Path, dockerfile: str, *, own_root: bool) -> TaskFiles:
    source = folder / "source"
    source.mkdir()
    (source / "report.py").write_text(REPORT)
    (source / "entry.sh").write_text(ENTRY)
    (source / "entry.sh").chmod(0o755)
    (source / "app.ini").write_text("settings")
    (source / "Dockerfile").write_text(dockerfile)
    store = ImageStore(lab_dir)
    store.publish("web", "1", source, print)
    image = store.get("lab/web:1")
    assert image is not None
    copy_for_task(image, folder / "task")
    return TaskFiles(image, folder / "task", own_root=own_root)


def run(files: TaskFiles) -> list[object]:
    config = files.image.config
    environment = files.environment(os.environ["PATH"])
    argv, folder = files.command_line([*config.entrypoint, *config.command], environment["PATH"])
    done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.parametrize(
    "lines",
    [
        'WORKDIR /app\nCOPY . .\nCMD ["python", "report.py", "/app/app.ini"]',
        'COPY report.py /opt/\nCOPY app.ini /app/\nWORKDIR /app\nCMD ["python", "/opt/report.py", "app.ini"]',
        "WORKDIR /app\nCOPY . .\nCMD python report.py /app/app.ini",
        'WORKDIR /app\nCOPY . .\nCMD ["sh", "-c", "exec python report.py /app/app.ini"]',
        'WORKDIR /app\nCOPY . .\nCOPY entry.sh /usr/local/bin/\nENTRYPOINT ["entry.sh"]\n'
        'CMD ["python", "report.py", "app.ini"]',
        "WORKDIR /app\nCOPY . .\nCOPY app.ini /etc/ecsconsul-test/\n"
        'CMD ["python", "report.py", "/etc/ecsconsul-test/app.ini"]',
        'WORKDIR /app\nCOPY . .\nCMD ["/usr/local/bin/python", "report.py", "app.ini"]',
        'WORKDIR /app\nCOPY . .\nRUN chmod +x entry.sh\nCMD ["./entry.sh", "python", "report.py", "app.ini"]',
    ],
)
def test_files_are_found(lab_dir: LabDir, tmp_path: Path, own_root: bool, lines: str) -> None:
    files = files_of(lab_dir, tmp_path, f"FROM x\nENV WHERE=/app/app.ini\n{lines}\n", own_root=own_root)
    _, folder, where, content = run(files)
    assert content == "settings"
    if own_root:
        assert (folder, where) == ("/app", "/app/app.ini")
    else:
        assert (folder, where) == (f"{tmp_path}/task/app", f"{tmp_path}/task/app/app.ini")


def test_paths_in_a_programs_own_text_need_a_root(lab_dir: LabDir, tmp_path: Path) -> None:
    require("root", can_have_own_root(tmp_path), "this kernel gives no program a root of its own")
    code = "open('/app/new', 'w').write(open('/app/app.ini').read()); print('[]')"
    dockerfile = f'FROM x\nWORKDIR /app\nCOPY . .\nCMD ["python", "-c", "{code}"]\n'
    files = files_of(lab_dir, tmp_path, dockerfile, own_root=True)
    assert run(files) == []
    # what it writes is its own
    assert (tmp_path / "task/app/new").read_text() == "settings"
    assert not Path("/app/new").exists()


def test_machine_that_takes_too_long_gives_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux is asked")
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(task_files, "_LAUNCHER", (str(slow),))
    monkeypatch.setattr(task_files, "CHECK_SECONDS", 0.1)
    assert not can_have_own_root(tmp_path)


def test_machines_own_files_are_there_too(lab_dir: LabDir, tmp_path: Path) -> None:
    require("root", can_have_own_root(tmp_path), "this kernel gives no program a root of its own")
    lines = f'COPY app.ini {sys.prefix}/ecsconsul-test.ini\nCMD ["ls", "{sys.prefix}", "{Path(sys.executable).parent}"]'
    files = files_of(lab_dir, tmp_path, f"FROM x\n{lines}\n", own_root=True)
    argv, _ = files.command_line(files.image.config.command, files.environment(os.environ["PATH"])["PATH"])
    listed = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    assert {"ecsconsul-test.ini", "lib", "python3"} <= set(listed.split())
    assert not Path(sys.prefix, "ecsconsul-test.ini").exists()


def test_program_that_does_not_exist(lab_dir: LabDir, tmp_path: Path, own_root: bool) -> None:
    files = files_of(lab_dir, tmp_path, 'FROM x\nCMD ["no-such-program"]\n', own_root=own_root)
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        files.command_line(files.image.config.command, os.environ["PATH"])


def test_command_enters_the_root_of_a_task(lab_dir: LabDir, tmp_path: Path) -> None:
    require("root", can_have_own_root(tmp_path), "this kernel gives no program a root of its own")
    lines = 'WORKDIR /app\nCOPY . .\nCMD ["sh", "-c", "echo up; exec sleep 60"]'
    files = files_of(lab_dir, tmp_path, f"FROM x\n{lines}\n", own_root=True)
    argv, _ = files.command_line(files.image.config.command, os.environ["PATH"])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as task:
        try:
            assert task.stdout
            assert task.stdout.readline() == "up\n"
            command = entering(task.pid, ["cat", "app.ini", "/app/app.ini"])
            assert command is not None
            assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "settings" * 2
            missing = entering(task.pid, ["no-such-program"])
            assert missing is not None
            assert subprocess.run(missing, capture_output=True, timeout=60).returncode == 127
        finally:
            task.kill()
    assert entering(os.getpid(), ["true"]) is None
