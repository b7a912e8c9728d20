"""`python -m causal_meta` is the command `causal-meta`."""

from causal_meta.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
