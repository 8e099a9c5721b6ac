"""``python -m pipeline`` is ``vidlake``."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
