"""``python -m pipeline`` is ``vidlake``."""

from pipeline.cli.starting import main

if __name__ == "__main__":
    main()
