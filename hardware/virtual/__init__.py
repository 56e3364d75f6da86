"""Servo boards that speak the bytes on a pseudo-terminal and report their motion: the arm you have when you have none."""
