"""`python -m coursebox VERB`."""

import sys

from coursebox.core.errors import of_packages  # needs no package

try:
    from coursebox.cli import main
except (ImportError, SyntaxError, ValueError) as error:  # a package that is damaged, or not there
    print(f"error: {of_packages(error)}", file=sys.stderr)
    sys.exit(1)

sys.exit(main())
