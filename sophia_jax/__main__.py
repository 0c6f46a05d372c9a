"""`python -m sophia_jax` is the console script `sophia-jax`."""

from sophia_jax.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
