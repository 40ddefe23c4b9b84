"""Ordinary videos to numbers: what is beside them, OpenCV, CLIP and VideoMAE, tables."""
