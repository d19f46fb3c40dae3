"""The only code that touches the world: files, processes, engines, clocks. It imports only errors."""
