"""Amazon ECS's services, tasks and container instances, true to what really runs on this machine."""
