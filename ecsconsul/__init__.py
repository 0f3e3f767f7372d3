"""Consul service discovery on Amazon ECS in one command, on a laptop and in an AWS account."""

__version__ = "0.3.0"
