"""What happens in a lab: one stream of changes from ECS, its containers and Consul, its record, and its causes."""
