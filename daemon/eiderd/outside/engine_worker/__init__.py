"""The engine's child process: a folder of its own, because it may run in another environment."""
