"""Programs composed of several rooms: the demonstration and the benches."""
