"""What changes backups. A job is a function; jobs never import each other and meet in the catalog."""
