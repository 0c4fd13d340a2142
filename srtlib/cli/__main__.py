import sys

from srtlib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
