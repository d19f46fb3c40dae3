"""The only code that touches the world: files, processes, engines, the clock."""
