"""`python -m coursebox VERB`."""

import sys

from coursebox.cli import main

sys.exit(main())
