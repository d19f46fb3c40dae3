"""`eider setup`: what is looked for, what would be done about it, and how it is done and undone."""
