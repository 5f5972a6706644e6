"""``python -m missrate``."""

from missrate.cli import main

if __name__ == "__main__":
    main()
