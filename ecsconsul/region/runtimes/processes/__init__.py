"""Runs a lab's tasks and Consul agents as processes."""
