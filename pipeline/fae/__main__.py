"""`python -m fae` is `fae`."""

import sys

from fae.cli import main

sys.exit(main())
