"""``python -m pn_gpu`` is ``pn-gpu``."""

from pn_gpu.cli import main

raise SystemExit(main())
