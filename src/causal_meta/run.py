"""`python -m causal_meta.run --config FILE` is `causal-meta study FILE`, with the same flags."""

from __future__ import annotations

import sys

from causal_meta.cli import main


def study_words(arguments: list[str]) -> list[str]:
    """The words of `causal-meta study` for those of this command.

    >>> study_words(["--config", "a.yaml", "--dry-run"])
    ['study', 'a.yaml', '--dry-run']
    """
    words = ["study"]
    for word in arguments:
        if word.startswith("--config="):
            words.append(word.removeprefix("--config="))
        elif word != "--config":
            words.append(word)
    return words


if __name__ == "__main__":
    raise SystemExit(main(study_words(sys.argv[1:])))
