"""What changes backups. Jobs are functions that meet in the catalog, never importing each other."""
