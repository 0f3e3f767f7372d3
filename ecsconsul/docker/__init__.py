"""Docker: the engine, build contexts, and image builds."""
