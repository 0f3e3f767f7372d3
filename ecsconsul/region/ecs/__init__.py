"""Amazon ECS as the region plays it: state, scheduling, placement, and the API."""
