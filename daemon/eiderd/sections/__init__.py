"""The sections of the configuration: their keys, the defaults, what is refused."""
