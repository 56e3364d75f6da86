"""Cameras behind one port: the newest frame with its age, or StaleFrame."""
