"""What looks, changing nothing: each returns all that it finds, and knows nobody but the nouns."""
