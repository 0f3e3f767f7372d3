"""The AWS target: an AWS account and region; one module for each thing that it offers."""

from __future__ import annotations

from .target import AwsTarget

__all__ = ["AwsTarget"]
