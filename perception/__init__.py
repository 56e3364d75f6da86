"""Pixels to poses: markers in a camera's picture, and where the block is. OpenCV."""
