"""Turns compose files, task definitions and clusters that exist into a commented config, and names what it loses."""
