"""The local target: a lab on this machine."""
