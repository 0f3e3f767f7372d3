"""The Registrator's rules: which Consul services stand for a container."""
