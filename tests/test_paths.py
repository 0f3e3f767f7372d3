"""Where shipped files lie, in this checkout."""

from ecsconsul import paths
from ecsconsul.docker.build_context import files


def test_the_services_and_the_templates_are_there():
    assert sorted(file.parent.name for file in paths.services_dir().glob("*/Dockerfile")) == [
        "portal",
        "stock-price",
        "weather",
    ]
    assert paths.templates_dir().is_dir()
    assert paths.templates_dir().is_absolute()


def test_the_registrators_image_is_made_of_the_registrator_alone():
    source = paths.registrator_source()
    found = {str(path.relative_to(source)) for path in files(source)}
    assert {name for name in found if not name.startswith("registrator/")} == {
        "Dockerfile",
        ".dockerignore",
        "__init__.py",
        "errors.py",
    }
    assert "registrator/__main__.py" in found
