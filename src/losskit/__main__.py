"""python -m losskit."""

import sys

from .cli import main

sys.exit(main())
