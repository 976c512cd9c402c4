"""The experiments' command line; see `experiments.lab.command`."""

import sys

from experiments.lab.command import main

sys.exit(main())
