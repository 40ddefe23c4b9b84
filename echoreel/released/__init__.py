"""The authors' checkpoints to a base and an adapter of ours. May import generation and above."""
