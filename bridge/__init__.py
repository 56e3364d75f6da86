"""What policy and robot agree on: one path for the simulated and the physical arm. NumPy, msgspec, pyzmq."""
