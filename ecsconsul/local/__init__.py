"""A tiny AWS region on this machine: moto's AWS API, with real Consul agents and real tasks behind it."""
