"""Deploys a lab: its steps, the executor that runs them, and the lab's status."""
