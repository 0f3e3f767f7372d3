"""The region's Amazon ECS: state, scheduling, placement, and the API."""
