"""The config file: its model, its loader, and its JSON Schema."""
