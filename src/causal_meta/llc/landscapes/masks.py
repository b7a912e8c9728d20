"""The parameters of a restricted LLC: the grammar of `posterior.mask` (restricted LLC: Wang et al.
2024, arXiv:2410.02984).

A mask is a list of terms separated by `|` (or by commas, which the command line uses for other
purposes). It selects the union of the parameters of its terms, less those of the terms that begin
with `-`; a mask of such terms alone starts from all parameters. A term is a pattern of parameter
names (`*`, `?` and `[…]` as in file names), followed by any number of selections of entries:

* `@rows:a:b` and `@columns:a:b`: the entries whose first or second index is a, …, b - 1 (either end
  may be omitted; `@rows:a` is one index);
* `@head:h`: the entries of attention head h (counted from 0): the head's rows of queries, keys and
  values, fused or not, and its columns of the output projection. Parameters that belong to no head
  are not selected.

`blocks.0.*` is a block, `blocks.0.*@head:2` its third head, `-*.bias` all but the biases,
`*.qkv.weight@rows:64:96` a slice of a fused weight.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from causal_meta.conf.setting import ConfigError
from causal_meta.conf.spelling import nearest

Indices = NDArray[np.int64]
_AXES = {"rows": 0, "columns": 1}


def masked_parameters(
    mask: str,
    names: Mapping[str, slice],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    heads: Mapping[str, NDArray[np.integer]] | None = None,
) -> Indices:
    """The sorted indices into the flat parameters that `mask` selects; all for an empty mask.

    Args:
        names: the slice of the flat vector of each parameter.
        shapes: the shape of each parameter; one without a shape is flat.
        heads: for each parameter an array of its shape with the head of each entry (-1: none).

    Raises:
        ConfigError: for a pattern that matches nothing, a selection that cannot be read or selects
            nothing, and a mask that leaves no parameter.

    >>> masked_parameters("a@rows:1 | b", {"a": slice(0, 4), "b": slice(4, 5)}, {"a": (2,
    ... 2)}).tolist()
    [2, 3, 4]
    """
    terms = [term.strip() for term in re.split("[,|]", mask) if term.strip()]
    kept: set[int] = set()
    if all(term.startswith("-") for term in terms):
        kept.update(index for place in names.values() for index in range(place.start, place.stop))
    for term in sorted(terms, key=lambda term: term.startswith("-")):
        indices = _selected(term.removeprefix("-").strip(), names, shapes or {}, heads or {})
        kept = kept - set(indices) if term.startswith("-") else kept | set(indices)
    if not kept:
        raise ConfigError(f"The mask {mask!r} leaves no parameter; leave it empty for all of them.")
    return np.array(sorted(kept), dtype=np.int64)


def _selected(
    term: str,
    names: Mapping[str, slice],
    shapes: Mapping[str, tuple[int, ...]],
    heads: Mapping[str, NDArray[np.integer]],
) -> list[int]:
    pattern, *selections = (part.strip() for part in term.split("@"))
    matched = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not matched:
        raise ConfigError(f"No parameter is called {pattern!r}{nearest(pattern, names)}")
    indices: list[int] = []
    for name in matched:
        place = names[name]
        shape = shapes.get(name, (place.stop - place.start,))
        selected = np.ones(shape, dtype=bool)
        for selection in selections:
            selected &= _entries(selection, shape, heads.get(name), term)
        indices += (place.start + np.flatnonzero(selected)).tolist()
    if not indices:
        numbers = sorted(
            {
                int(head)
                for name in matched
                if name in heads
                for head in np.unique(heads[name])
                if head >= 0
            }
        )
        available = (
            f"the heads are {numbers[0]} to {numbers[-1]}"
            if numbers
            else "these parameters have no known heads"
        )
        raise ConfigError(
            f"{term!r} selects no entry of "
            f"{matched[0]}{' and others' if len(matched) > 1 else ''}; {available}."
        )
    return indices


def _entries(
    selection: str, shape: tuple[int, ...], heads: NDArray[np.integer] | None, term: str
) -> NDArray[np.bool_]:
    """The entries of one parameter that one selection selects."""
    word, _, value = (part.strip() for part in selection.partition(":"))
    try:
        if word == "head":
            return np.zeros(shape, dtype=bool) if heads is None else np.asarray(heads) == int(value)
        axis = _AXES[word]
        first, colon, last = value.partition(":")
        start, stop = (
            int(first or 0),
            (int(last) if last else math.inf) if colon else int(first) + 1,
        )
    except (KeyError, ValueError):
        raise ConfigError(
            f"{term!r} cannot be read as part of a mask; a pattern may be followed by @rows:a:b, "
            "@columns:a:b or @head:h."
        ) from None
    if axis >= len(shape):
        return np.zeros(shape, dtype=bool)
    index = np.arange(shape[axis])
    along = (index >= start) & (index < stop)
    return np.broadcast_to(
        along.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape
    )
