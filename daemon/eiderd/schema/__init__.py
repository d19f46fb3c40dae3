"""The schema of the application's database: asked, compared, shown."""
