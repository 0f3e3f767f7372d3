"""Files of NAME=VALUE lines are read as Docker reads them, and no message shows a value."""

from pathlib import Path

import pytest

from ecsconsul.config.env_file import MAX_BYTES, read_env_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "web.env"


def test_values_are_taken_as_they_stand(file):
    file.write_bytes(
        b'\xef\xbb\xbf# comment\n\nA=1\r\n  B = x \nC="quoted" # no comment\nD=\nE=a=b\nA=2\n'.replace(b"B =", b"B=")
    )
    assert read_env_file(file) == ({"A": "2", "B": " x ", "C": '"quoted" # no comment', "D": "", "E": "a=b"}, ())


def test_problems_have_the_line_and_no_value(file):
    file.write_text("A=1\nhunter2\n1B=hunter3\n = hunter4\n")
    values, problems = read_env_file(file)
    assert values == {"A": "1"}
    assert [one.removeprefix(str(file)).split(": ")[0] for one in problems] == [":2", ":3", ":4"]
    assert "hunter" not in str(problems)


def test_a_file_that_cannot_be_read_is_a_problem(file, tmp_path):
    assert read_env_file(file).problems == (f"can't read {file}: No such file or directory",)
    assert read_env_file(tmp_path).problems == (f"can't read {tmp_path}: Is a directory",)
    file.write_bytes(b"A=1\nB=\xff\n")
    assert read_env_file(file).problems == (f"{file}:2: not UTF-8",)
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    assert read_env_file(file).problems == (f"{file} is larger than 1 MiB",)
