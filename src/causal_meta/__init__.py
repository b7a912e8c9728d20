"""causal_meta: which causal graphs could have made this table, and how sure are we?"""

__version__ = "0.1.0"
