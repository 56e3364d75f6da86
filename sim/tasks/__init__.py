"""Tasks: how an episode starts, what it is worth, and when it has succeeded."""
