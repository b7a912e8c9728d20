"""The command line: `causal-meta VERB [KIND] [key=value …] [--flags]`. What a result is goes in
key=value, where and how it is made in flags."""

from causal_meta.cli.program import main

__all__ = ["main"]
