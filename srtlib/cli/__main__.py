import sys

from srtlib.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
