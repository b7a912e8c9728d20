"""The grammar of parameter masks."""

import fnmatch

import numpy as np
import pytest

from causal_meta.conf.setting import ConfigError
from causal_meta.llc.landscapes.masks import masked_parameters

SHAPES = {
    "embed.weight": (3, 2),
    "block.qkv.weight": (6, 4),
    "block.out.weight": (4, 2),
    "block.out.bias": (4,),
    "scale": (),
}
HEADS = {
    "block.qkv.weight": np.repeat([[0], [1]] * 3, 4, axis=1).reshape(6, 4),
    "block.out.weight": np.array([[0, 1]] * 4),
}
WHOLE = {name: np.arange(int(np.prod(shape))).reshape(shape) for name, shape in SHAPES.items()}
NAMES, ENTRIES, _start = {}, {}, 0
for _name, _values in WHOLE.items():
    NAMES[_name] = slice(_start, _start + _values.size)
    ENTRIES[_name] = _values + _start
    _start += _values.size
P = _start


def chosen(mask):
    return masked_parameters(mask, NAMES, SHAPES, HEADS).tolist()


@pytest.mark.parametrize("pattern", ["*", "block.*", "*.weight", "embed.weight", "sc?le", "[be]*"])
def test_a_pattern_selects_what_file_names_would(pattern):
    assert chosen(pattern) == sorted(
        i for name in NAMES if fnmatch.fnmatchcase(name, pattern) for i in ENTRIES[name].ravel()
    )


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("", range(P)),
        ("*|-block.*", [*ENTRIES["embed.weight"].ravel(), int(ENTRIES["scale"])]),
        ("-block.*, -scale", ENTRIES["embed.weight"].ravel()),
        ("embed.weight@rows:1:", ENTRIES["embed.weight"][1:].ravel()),
        ("embed.weight@rows:1", ENTRIES["embed.weight"][1]),
        ("embed.weight@rows::2@columns:1", ENTRIES["embed.weight"][:2, 1]),
        (
            "block.*@head:1",
            sorted(
                [*ENTRIES["block.qkv.weight"][1::2].ravel(), *ENTRIES["block.out.weight"][:, 1]]
            ),
        ),
        (
            "block.*|-block.*@head:0",
            sorted(
                [
                    *ENTRIES["block.qkv.weight"][1::2].ravel(),
                    *ENTRIES["block.out.weight"][:, 1],
                    *ENTRIES["block.out.bias"],
                ]
            ),
        ),
        ("scale, scale", [int(ENTRIES["scale"])]),
    ],
)
def test_selections_are_slices_of_arrays(mask, expected):
    assert chosen(mask) == [int(i) for i in expected]


def test_the_order_of_terms_does_not_matter():
    assert chosen("-block.out.bias, block.*") == chosen("block.*|-block.out.bias")


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ("blok.*", "No parameter is called"),
        ("*@head:2", "heads are 0 to 1"),
        ("embed.weight@head:0", "no known heads"),
        ("embed.weight@rows:3:", "selects no entry"),
        ("scale@columns:0", "selects no entry"),
        ("embed.weight@depth:1", "@rows:a:b"),
        ("embed.weight@rows:x", "@rows:a:b"),
        ("embed.weight@rows:", "@rows:a:b"),
        ("scale|-scale", "leaves no parameter"),
        ("-*", "leaves no parameter"),
    ],
)
def test_invalid_masks_are_refused_in_one_sentence(mask, says):
    with pytest.raises(ConfigError, match=says) as refusal:
        chosen(mask)
    assert "\n" not in str(refusal.value)


def test_parameters_without_shapes_are_flat():
    assert masked_parameters("a@rows:2:", {"a": slice(1, 5)}).tolist() == [3, 4]
