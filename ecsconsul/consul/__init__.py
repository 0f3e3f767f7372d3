"""Consul: its catalog, its DNS, and the binary."""
