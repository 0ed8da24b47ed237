"""`python -m course_grade`, for machines without the command."""

import sys

from course_grade.cli import main

sys.exit(main())
