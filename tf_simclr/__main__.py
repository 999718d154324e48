"""`python -m tf_simclr`: the same as the console script `tf-simclr`."""

import sys

from tf_simclr.cli import main

if __name__ == "__main__":
    sys.exit(main())
