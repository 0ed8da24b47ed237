"""`python -m coursebox VERB`."""

import sys

try:
    from coursebox.cli import main
except (ImportError, SyntaxError, ValueError) as error:  # a package that is damaged, or not there
    print(f"error: the Python packages of the verbs are damaged ({error})", file=sys.stderr)
    print("  hint: delete the folder `python` in the cache folder; the next verb makes it anew", file=sys.stderr)
    sys.exit(1)

sys.exit(main())
