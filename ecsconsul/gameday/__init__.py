"""Proof instead of promise: faults are injected for real, and what callers notice is measured."""
