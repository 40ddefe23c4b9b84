"""The training loop, cached pairs, training an adapter and its Prism. May import generation and above."""
