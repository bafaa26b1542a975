"""`python -m hdasim`."""

from hdasim.cli import main

raise SystemExit(main())
