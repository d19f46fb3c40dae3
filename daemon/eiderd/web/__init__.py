"""What is served over HTTP: the status page, runbooks, metrics, health. Pure but for the server."""
