"""The Registrator: keeps a Consul agent's services in step with a container engine's running containers."""
