"""NATS as eiderd sees it: what is expected, what is there, and streams on their way."""
