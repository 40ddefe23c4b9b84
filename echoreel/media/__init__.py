"""Video and image files to frames and back; `ReferenceVideo`. May import common."""
