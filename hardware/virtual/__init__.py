"""Servo boards that speak the bytes on a pseudo-terminal: the arm you have when you have no arm."""
