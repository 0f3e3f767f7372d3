"""Runs a lab's tasks and Consul agents as containers on a Docker engine."""
