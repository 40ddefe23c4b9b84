"""`python -m echoreel` is `echoreel`; `torchrun --nproc-per-node 2 -m echoreel train ...` needs it so."""

from echoreel.cli import main

main()
