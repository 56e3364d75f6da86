"""The physical arm: servo buses, cameras, and the virtual boards that stand in for it on the wire."""
