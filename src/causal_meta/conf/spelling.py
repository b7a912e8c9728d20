"""Names in error messages: the nearest of the allowed ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED, _LIKELY = 30, 8  # how many names an error lists in full, and how many of a longer list


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error sentence: `; did you mean 'x'? Allowed are a, b, c.`, with the names most
    like `word` where there are many.

    >>> nearest("linaer", ["linear", "mlp"])
    "; did you mean 'linear'? Allowed are linear, mlp."
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    if len(names) > _LISTED:
        likely = (
            sorted(difflib.get_close_matches(word, names, n=_LIKELY, cutoff=0.3)) or names[:_LIKELY]
        )
        return f"{hint} Allowed are {len(names)} names, such as {', '.join(likely)}."
    return f"{hint} Allowed are {', '.join(names) or 'none'}."
