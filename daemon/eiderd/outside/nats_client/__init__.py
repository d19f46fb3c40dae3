"""Everything that is asked of NATS. The one place where asyncio and nats-py live."""
