"""A tiny AWS region in one background process."""
