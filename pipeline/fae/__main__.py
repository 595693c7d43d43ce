"""`python -m fae.cli` is `fae`."""

from fae.cli import main

main()
