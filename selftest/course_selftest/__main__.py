"""`python -m course_selftest`, for machines without the command."""

import sys

from course_selftest.cli import main

sys.exit(main())
