"""File trees without Docker: COPY, ADD and WORKDIR as https://docs.docker.com/reference/dockerfile/#copy says."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ecsconsul.docker.dockerfile import read_image
from ecsconsul.docker.file_tree import FileTree, inside, warning_about
from ecsconsul.docker.stages import Run
from ecsconsul.errors import LabError

FILES = {"app.py": "app", "src/main.py": "main", "src/lib/a.py": "a", "conf/run.sh": "#!/bin/sh", "package.json": "{}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to build from."""
    made = tmp_path / "context"
    for name, text in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    (made / "conf/run.sh").chmod(0o755)
    return made


def carry_out_nothing(run: Run, tree: Path) -> bool:
    return False


def trees_of(folder: Path, *lines: str) -> FileTree:
    (folder / "Dockerfile").write_text("\n".join(["FROM x", *lines, 'CMD ["run"]']) + "\n")
    (folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    source, stages = read_image(folder)
    return FileTree(source, stages, folder.parent / f"trees{len(list(folder.parent.iterdir()))}", carry_out_nothing)


def content(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}


def copied(folder: Path, *lines: str) -> dict[str, str]:
    return content(trees_of(folder, *lines).build())


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        (["WORKDIR /app", "COPY app.py ."], {"app/app.py"}),
        (["COPY app.py /x"], {"x"}),
        (["COPY app.py /x/"], {"x/app.py"}),
        (["WORKDIR /x", "COPY app.py /x"], {"x/app.py"}),
        (["WORKDIR /app", "COPY src/ ./"], {"app/main.py", "app/lib/a.py"}),
        (["COPY src /srv"], {"srv/main.py", "srv/lib/a.py"}),
        (["COPY ./conf/run.sh /run.sh"], {"run.sh"}),
        (["COPY conf/run.sh /usr/local/bin/"], {"usr/local/bin/run.sh"}),
        (["COPY app.py package.json /a/"], {"a/app.py", "a/package.json"}),
        (["COPY package*.json /a/"], {"a/package.json"}),
        (["COPY src/*.py /a/"], {"a/main.py"}),
        (["COPY s[qr]c/ma?n.py /a/"], {"a/main.py"}),
        (['COPY ["app.py", "/with space"]'], {"with space"}),
        (["COPY ../../app.py /x"], {"x"}),
        (["COPY --exclude=*.json --exclude=app.py . /a"], None),
        (["WORKDIR /a/b", "COPY app.py ../c/"], {"a/c/app.py"}),
        (["ENV TO=/opt", "COPY app.py $TO/"], {"opt/app.py"}),
        (["COPY src /", "COPY app.py /main.py"], {"main.py", "lib/a.py"}),
    ],
)
def test_copy(folder: Path, lines: list[str], files: set[str] | None) -> None:
    found = copied(folder, *lines)
    if files is not None:
        assert found.keys() == files


def test_later_copy_replaces_a_file(folder: Path) -> None:
    assert copied(folder, "COPY src /", "COPY app.py /main.py")["main.py"] == "app"


def test_whole_context_without_what_dockerignore_excludes(folder: Path) -> None:
    assert copied(folder, "COPY . /app") == {f"app/{name}": text for name, text in FILES.items()}


def test_here_documents(folder: Path) -> None:
    found = copied(
        folder,
        "ENV A=1",
        "COPY <<one <<'two' /x/",
        'A is "$A"\\n',
        "one",
        "$A",
        "two",
        "COPY <<EOF /etc/app.ini",
        "x",
        "EOF",
    )
    assert found == {"x/one": 'A is "1"\\n\n', "x/two": "$A\n", "etc/app.ini": "x\n"}


def test_modes(folder: Path) -> None:
    tree = trees_of(folder, "COPY conf/run.sh /kept", "COPY --chmod=640 app.py /given").build()
    assert [(tree / name).stat().st_mode & 0o777 for name in ("kept", "given")] == [0o755, 0o640]


def test_stages(folder: Path) -> None:
    found = copied(
        folder,
        "WORKDIR /src",
        "COPY src .",
        "FROM y AS unused",
        "COPY nothing /",
        "FROM x AS base",
        "COPY app.py /app.py",
        "FROM base",
        "COPY --from=0 /src/lib /lib",
        "COPY --from=base app.py /again.py",
    )
    assert found.keys() == {"app.py", "lib/a.py", "again.py"}


def test_add_unpacks_archives(folder: Path) -> None:
    with tarfile.open(folder / "data.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("inner/x.txt")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    assert copied(folder, "ADD data.tar.gz /data").keys() == {"data/inner/x.txt"}


def test_links_stay_links_and_lead_nowhere_else(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "etc").symlink_to("/conf")
    tree = trees_of(folder, "COPY . /", "COPY app.py /out/x", "COPY app.py /etc/x").build()
    assert list(outside.iterdir()) == []
    assert str((tree / "etc").readlink()) == "/conf"
    assert content(tree)["conf/x"] == inside(tree, "/etc/x").read_text() == "app"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(LabError, match="lead in a circle"):
        inside(tmp_path, "/a/x")


@pytest.mark.parametrize(
    ("lines", "where", "why"),
    [
        (["COPY none /x"], ":2", "there is no none to copy"),
        (["COPY n*e /x"], ":2", r"there is no n*e to copy"),
        (["COPY --from=busybox /bin /bin"], ":2", "the image busybox isn't fetched without Docker"),
        (["ADD https://example.com/x /x"], ":2", "https://example.com/x isn't fetched without Docker"),
        (
            ["RUN go build -o /server", "FROM y", "COPY --from=0 /server /server"],
            ":4",
            "there is no /server: without Docker, RUN isn't carried out (line 2: go build -o /server)",
        ),
    ],
)
def test_missing_file_is_reported_with_its_line(folder: Path, lines: list[str], where: str, why: str) -> None:
    with pytest.raises(LabError) as caught:
        trees_of(folder, *lines).build()
    assert caught.value.where == f"{folder / 'Dockerfile'}{where}"
    assert why in caught.value.why
    assert caught.value.hint


def test_every_run_that_is_left_out_is_named_once(folder: Path) -> None:
    trees = trees_of(folder, "RUN one", "FROM y", "RUN two \\", " words", "FROM z", "COPY --from=1 / /")
    trees.build()
    warning = warning_about(read_image(folder)[0], trees.left_out)
    assert warning == f"{folder / 'Dockerfile'}: without Docker, RUN isn't carried out (line 4: two words)"
