"""`python -m pipeline.cli` is `fae`."""

from pipeline.cli import main

main()
