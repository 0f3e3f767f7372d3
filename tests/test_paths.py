"""The paths of shipped files and of labs."""

from ecsconsul import paths
from ecsconsul.docker.build_context import files
from ecsconsul.region.runtimes.lab_dir import LabDir


def test_services_and_templates_exist():
    assert sorted(file.parent.name for file in paths.services_dir().glob("*/Dockerfile")) == [
        "portal",
        "stock-price",
        "weather",
    ]
    assert paths.templates_dir().is_dir()
    assert paths.templates_dir().is_absolute()


def test_region_log():
    assert paths.region_log("blue") == LabDir("blue").region_log


def test_registrator_image_contains_only_the_registrator():
    source = paths.registrator_source()
    found = {str(path.relative_to(source)) for path in files(source)}
    assert {name for name in found if not name.startswith("registrator/")} == {
        "Dockerfile",
        ".dockerignore",
        "__init__.py",
        "errors.py",
    }
    assert "registrator/__main__.py" in found
