"""``python -m byoc`` is the command line; processes of an instance are started this way."""

from byoc_cli.main import run

if __name__ == "__main__":
    run()
