"""The config file: the lab it describes, how it is read, and its JSON Schema."""
