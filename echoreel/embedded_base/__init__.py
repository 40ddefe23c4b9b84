"""The small base of this package and its training. May import training, actors and what is above them."""
