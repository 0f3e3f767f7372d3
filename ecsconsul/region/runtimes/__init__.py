"""What both runtimes share: their interface, the lab directory, addresses, and processes."""
