"""The template with its included scripts."""

from __future__ import annotations

from ecsconsul.deploy.template import stack_template, with_scripts
from ecsconsul.paths import templates_dir

SCRIPTS = {"one.sh": '#!/bin/bash\n# says\necho "$name ${name}"\n\nif true; then\n    :\nfi\n', "two.sh": "echo two\n"}


def test_included_script_is_indented_and_escaped() -> None:
    template = "a: !Sub |\n  LAB=${Lab}\n  # include: one.sh\n  # include: two.sh\nb: 1\n"
    assert with_scripts(template, SCRIPTS.__getitem__) == (
        "a: !Sub |\n  LAB=${Lab}\n"
        '  # says\n  echo "$name ${!name}"\n\n  if true; then\n      :\n  fi\n'
        "  echo two\nb: 1\n"
    )


def test_template_without_includes_is_unchanged() -> None:
    text = (templates_dir() / "boot.sh").read_text()
    assert with_scripts(text, SCRIPTS.__getitem__) == text


def test_the_shipped_template_has_all_its_scripts() -> None:
    text = stack_template()
    assert "# include:" not in text
    for script in templates_dir().glob("*.sh"):
        longest = max((line for line in script.read_text().splitlines() if "#" not in line), key=len)
        assert longest.replace("${", "${!") in text, script.name


def test_sent_template_has_no_comments_but_whole_scripts() -> None:
    lines = stack_template().splitlines()
    assert [
        line for line in lines if line.lstrip().startswith("#") and not line.lstrip().startswith("#!/bin/bash")
    ] == []
    assert sum(line.strip() == "#!/bin/bash" for line in lines) == 2
    assert "" not in lines
