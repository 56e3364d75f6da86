"""Servo buses, one file per protocol."""
