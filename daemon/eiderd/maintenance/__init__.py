"""What changes the live database or goes back: restore, compact, rescue, drill, and their plans."""
