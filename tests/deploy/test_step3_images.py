"""The image of a service: its tag is the hash of its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.config.lab import ServiceSpec
from ecsconsul.deploy.step import decide
from ecsconsul.deploy.step3_images import ImageStep
from ecsconsul.docker.build_context import source_hash
from tests.deploy.world import FakeTarget, RecordingReport


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text('FROM python:3.12-slim\nCMD ["python"]\n')
    return tmp_path


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget(None)


def image(source: Path, target: FakeTarget) -> ImageStep:
    """A new step, as each command creates it, which hashes the source again."""
    return ImageStep(ServiceSpec(name="weather", path=str(source)), target)


def op(step: ImageStep) -> str:
    return decide(step.desired(), step.inspect())


def test_absent_published_kept_deleted(source: Path, target: FakeTarget, report: RecordingReport) -> None:
    assert op(image(source, target)) == "create"
    assert image(source, target).apply(None, report) == source_hash(source)
    assert op(image(source, target)) == "keep"
    image(source, target).destroy(report)
    assert op(image(source, target)) == "create"
    image(source, target).destroy(report)


def test_edited_source_is_an_update(source: Path, target: FakeTarget, report: RecordingReport) -> None:
    image(source, target).apply(None, report)
    (source / "app.py").write_text("print()")
    edited = image(source, target)
    assert op(edited) == "update"
    edited.apply(edited.inspect(), report)
    assert op(image(source, target)) == "keep"
    (source / "app.py").unlink()
    assert op(image(source, target)) == "keep"


def test_reference_contains_the_source_hash(source: Path, target: FakeTarget) -> None:
    assert image(source, target).reference == f"registry.example/weather:{source_hash(source)}"
