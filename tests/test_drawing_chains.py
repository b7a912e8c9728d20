"""Pictures of chains: drawn for every shape of draws, the same bytes each time, with gaps
where values are not finite."""

import numpy as np
import pytest

from causal_meta.drawing import canvas, chains

NUMBERS = np.random.default_rng(0)
SERIES = NUMBERS.normal(size=(3, 120))
RUN = chains.Running(
    [20, 60, 120], [100.0, 300.0, 600.0], [1.0, 1.1, 1.05], [0.3, 0.2, 0.1], [0.1, 0.3, 0.6]
)


def broken():
    values = SERIES.copy()
    values[1] = np.nan
    values[2, 50:] = np.nan
    return values


@pytest.mark.parametrize(
    "values",
    [SERIES, broken(), np.full((2, 30), np.nan), np.ones((1, 30))],
    ids=["sound", "partly", "none", "constant"],
)
@pytest.mark.parametrize("draw", [chains.trace, chains.rank, chains.energy])
def test_every_shape_is_drawn(values, draw):
    picture = canvas.png(draw(values, title="A title in $", note="and a note"))
    assert picture == canvas.png(draw(values, title="A title in $", note="and a note"))
    assert picture.startswith(b"\x89PNG")


def test_running_estimates_and_comparisons():
    for figure in (
        chains.running(SERIES, RUN, exact=1.0),
        chains.wnv(RUN),
        chains.wnv(chains.Running([20], [100.0], [1.0], [0.3])),
        chains.compare({"hmc": RUN, "nuts": RUN}, exact=1.0),
    ):
        assert canvas.png(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no samplers"):
        chains.compare({})


def test_the_lines_are_the_numbers():
    figure = chains.running(SERIES, RUN, exact=1.0)
    left, right = figure.axes
    assert [len(line.get_ydata()) for line in left.lines] == [120, 120, 120, 2]
    for chain in range(3):
        assert left.lines[chain].get_ydata()[-1] == pytest.approx(SERIES[chain].mean())
    np.testing.assert_array_equal(right.lines[0].get_ydata(), RUN.mean)
    work = chains.wnv(RUN).axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(work, np.square(RUN.error) * RUN.gradients)


def test_ranks_of_equal_chains_are_flat_and_of_unequal_ones_are_not():
    def bars(values):
        return np.stack(
            [
                patch.get_data().values
                for patch in chains.rank(values).axes[0].patches
                if hasattr(patch, "get_data")
            ]
        )

    same = NUMBERS.normal(size=(2, 2000))
    assert bars(same).sum(1).tolist() == [2000, 2000]
    assert bars(same).max() < 100 + 5 * 10  # 20 bins of 100 ± 10
    assert bars(same + np.array([[0.0], [1.0]])).max() > 170
