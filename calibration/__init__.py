"""Measured facts about one physical arm: artifacts on disk, counts <-> radians, and how its servos move."""
