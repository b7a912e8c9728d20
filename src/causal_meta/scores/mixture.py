"""A mixture of classes of mechanisms, noise and variances in every family: itself a local score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.special import logsumexp

from causal_meta.scores.additive import Additive
from causal_meta.scores.bge import BGe
from causal_meta.scores.class_gains import ClassGains
from causal_meta.scores.features import Features
from causal_meta.scores.local_score import (
    LocalScore,
    checked_families,
    subset_bits,
    subset_numbers,
    subset_sums,
    subsets_by_size,
)
from causal_meta.scores.noise import CLASSES

SUPERFLUOUS = 8.0  # nats of superfluous parents beyond which noise and variance are not computed
_CHUNK = 4096  # families that are computed at once
_REMEMBERED = 1 << 21  # entries of remembered tables

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class MixtureWeights:
    """Prior weights of classes: of additive mechanisms (else linear), of noise that is not Gaussian
    (shared alike among its classes) and of variances that depend on parents (where there are any).
    They depend on the number of parents alone, so a covered edge keeps its two directions alike.
    """

    additive: float = 0.5
    noise: float = 0.5
    variance: float = 0.2

    def __post_init__(self) -> None:
        shares = (self.additive, self.noise, self.variance)
        if not all(0 <= share < 1 for share in shares):
            raise ValueError(f"weights of classes lie in [0, 1); they are {shares}")


@dataclass(frozen=True, eq=False)
class ClassShares:
    """What share of the evidence of families is from `nonlinear` mechanisms with a constant
    variance, from variances that depend on the parents (`varying`, whose means are smooth), and
    from noise that is not Gaussian (`other_noise`, with either)."""

    nonlinear: Float[np.ndarray, " F"]
    varying: Float[np.ndarray, " F"]
    other_noise: Float[np.ndarray, " F"]


class Mechanisms:
    """The mixture of linear and additive mechanisms, with the additive ones alone. Tables are
    remembered, and shared by mixtures of the same table."""

    def __init__(self, features: Features, share: float) -> None:
        self._linear = BGe(features.table, features.prior)
        self.additive = Additive(features)
        self._share = share
        self._tables: dict[int, list[_Remembered]] = {}

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Pair:
        """The evidence of families under the mixture, and under additive mechanisms."""
        known = self._known(node, np.unique(parents), parents.shape[1])
        if known is not None:
            return known.families(parents)
        linear = self._linear.families(node, parents)
        if not parents.shape[1]:
            return linear, linear
        return self._mixed(linear, self.additive.families(node, parents))

    def table(self, node: int, candidates: Int[np.ndarray, " K"], max_parents: int | None) -> Pair:
        """The same for all subsets of `candidates`; -inf beyond `max_parents`."""
        size = len(candidates)
        most = size if max_parents is None else min(size, max_parents)
        known = self._known(node, candidates, most)
        if known is None:
            linear = self._linear.table(node, candidates, most)
            additive = self.additive.table(node, candidates, most)
            additive[0] = linear[0]
            bits = subset_bits(candidates, self._linear.n_nodes)
            pair = self._mixed(linear, additive)
            known = _Remembered(np.array(candidates), bits, most, pair)
            tables = [table for of_node in self._tables.values() for table in of_node]
            if sum(len(table.pair[0]) for table in tables) > _REMEMBERED:
                self._tables = {}
            self._tables.setdefault(node, []).append(known)
        return known.table(candidates, most)

    def _known(self, node: int, names: Int[np.ndarray, " k"], most: int) -> _Remembered | None:
        """A table with all families of up to `most` of these parents."""
        for table in self._tables.get(node, []):
            if table.most >= most and table.bits[names].all():
                return table
        return None

    def _mixed(self, linear: Float[np.ndarray, " F"], additive: Float[np.ndarray, " F"]) -> Pair:
        weights = np.log([1 - self._share, max(self._share, 1e-300)])
        return np.logaddexp(weights[0] + linear, weights[1] + additive), additive


@dataclass(frozen=True, eq=False)
class _Remembered:
    """The evidences of all subsets of up to `most` of `candidates`, whose bits are `bits`; 0 for
    other variables."""

    candidates: Int[np.ndarray, " K"]
    bits: Int[np.ndarray, " D"]
    most: int
    pair: Pair

    def families(self, parents: Int[np.ndarray, "F p"]) -> Pair:
        """The entries of families."""
        numbers = self.bits[parents].sum(axis=1)
        return self.pair[0][numbers], self.pair[1][numbers]

    def table(self, some: Int[np.ndarray, " k"], most: int) -> Pair:
        """The entries of the subsets of `some`; -inf beyond `most`."""
        if most == self.most and np.array_equal(some, self.candidates):
            return self.pair
        numbers = subset_numbers(self.candidates, some)
        allowed = subset_sums(np.ones(len(some), np.int64)) <= most
        mixed, additive = (np.where(allowed, part[numbers], -np.inf) for part in self.pair)
        return mixed, additive


def _superfluous(mechanisms: Float[np.ndarray, " 2**K"], k: int) -> Float[np.ndarray, " 2**K"]:
    """The nats that parents cost without which the evidence is higher, summed over the parents."""
    subsets = np.arange(1 << k)[:, None]
    fewer = mechanisms[subsets & ~(1 << np.arange(k))]  # of a set without a member: itself
    with np.errstate(invalid="ignore"):
        excess = np.maximum(0, fewer - mechanisms[:, None])
    return np.where(np.isfinite(mechanisms), excess.sum(axis=1), np.inf)


class Mixture(LocalScore):
    """log sum_k pi_k(p) p_k(x_v | x_P) over classes k = mechanism x noise x variance.

        mechanism   linear (`BGe`) or additive (`Additive`)
        noise       Gaussian, or the classes of `noise_gains`
        variance    constant, or depending on the parents (`variance_fits`; additive mean)

    A class of noise or variance multiplies the evidence of its mechanism by the gain that residuals
    show. Gains cost O(N) per family. They are computed for all families but those with superfluous
    parents: sum_u max(0, s(P - u) - s(P)) > 8 nats with s the mixture of linear and additive
    mechanisms. Such a family keeps the evidence of Gaussian noise alone, and its own score can be
    too low by tens of nats; but dropping its superfluous parents keeps every order that allows it,
    so that the sum over parent sets of an order changes little (0.02 nats at most in the tests).
    Families are remembered: a second table costs look-ups.

    A categorical variable has a linear and an additive score only. Good where one cannot know the
    class: on linear Gaussian data the other classes vanish. Wrong where none holds, and then sure
    of itself: pool it with smaller mixtures (`assumption_scores`).

    Args:
        gains: the gains of noise and variance; None for Gaussian noise of constant variance.
        variance: whether variances may depend on parents.
        mechanisms: shared with other mixtures of the same table.
    """

    def __init__(
        self,
        features: Features,
        gains: ClassGains | None = None,
        variance: bool = False,
        weights: MixtureWeights | None = None,
        mechanisms: Mechanisms | None = None,
    ) -> None:
        self.n_nodes = features.table.n_nodes
        self.weights = weights or MixtureWeights()
        self._mechanisms = mechanisms or Mechanisms(features, self.weights.additive)
        self._gains, self._variance = gains, variance
        self._continuous = [code is None for code in features.table.codes]

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        parents = checked_families(node, parents, self.n_nodes)
        mechanisms, additive = self._mechanisms.families(node, parents)
        if not self._has_classes(node):
            return mechanisms
        needed = self._superfluous(node, parents, mechanisms) <= SUPERFLUOUS
        return self._with_classes(node, parents, mechanisms, additive, needed)

    def _superfluous(
        self, node: int, parents: Int[np.ndarray, "F p"], mechanisms: Float[np.ndarray, " F"]
    ) -> Float[np.ndarray, " F"]:
        """The nats of superfluous parents of each family, see the class."""
        count, p = parents.shape
        if not p:
            return np.zeros(count)
        fewer = np.concatenate([np.delete(parents, k, axis=1) for k in range(p)])
        without, _ = self._mechanisms.families(node, fewer)
        return np.asarray(np.maximum(0, without.reshape(p, count) - mechanisms).sum(axis=0))

    def table(
        self, node: int, candidates: Int[np.ndarray, " K"], max_parents: int | None = None
    ) -> Float[np.ndarray, " 2**K"]:
        """The scores of all subsets of `candidates`; see `LocalScore.table`."""
        candidates = np.asarray(candidates, np.int64)
        mechanisms, additive = self._mechanisms.table(node, candidates, max_parents)
        table = mechanisms.copy()
        if not self._has_classes(node):
            return table
        # A family far below the node's best still matters, since the best may point the wrong way:
        # only parents that are superfluous in every order that allows them are a reason to skip.
        needed = _superfluous(mechanisms, len(candidates)) <= SUPERFLUOUS
        for subsets, parents in subsets_by_size(candidates, max_parents):
            for start in range(0, len(subsets), _CHUNK):
                part = subsets[start : start + _CHUNK]
                table[part] = self._with_classes(
                    node,
                    checked_families(node, parents[start : start + _CHUNK], self.n_nodes),
                    mechanisms[part],
                    additive[part],
                    needed[part],
                )
        return table

    def class_shares(self, node: int, parents: Int[np.ndarray, "F p"]) -> ClassShares:
        """The shares of classes in the evidence of families: posterior probabilities, if the
        mixture holds. Roots have linear mechanisms of constant variance."""
        parents = checked_families(node, parents, self.n_nodes)
        mixed, additive = self._mechanisms.families(node, parents)
        has_parents = parents.shape[1] > 0
        share = self.weights.additive if has_parents else 0.0
        nonlinear = share * np.exp(additive - mixed)
        if not self._has_classes(node):
            nothing = np.zeros(len(parents))
            return ClassShares(nonlinear, varying=nothing, other_noise=nothing)
        assert self._gains is not None
        weights = self._noise_weights()
        gains = self._gains.constant(node, parents)
        varying = self.weights.variance if self._variance and has_parents else 0.0
        constant = np.log(1 - varying) + mixed
        whole = constant + _mixed(gains, weights)
        gaussian, moving = constant + weights[0], np.full(len(parents), -np.inf)
        if varying:
            gain, gains = self._gains.varying(node, parents)
            other = np.log(varying) + additive + gain
            moving = other + _mixed(gains, weights)
            whole = np.logaddexp(whole, moving)
            gaussian = np.logaddexp(gaussian, other + weights[0])
        moving = np.exp(moving - whole)
        other_noise = -np.expm1(gaussian - whole)
        return ClassShares(nonlinear * (1 - moving), varying=moving, other_noise=other_noise)

    def _noise_weights(self) -> Float[np.ndarray, " c+1"]:
        """The log weights of Gaussian noise and of the other classes."""
        noise = self.weights.noise
        return np.log(np.array([1 - noise] + [noise / len(CLASSES)] * len(CLASSES)) + 1e-300)

    def _has_classes(self, node: int) -> bool:
        return self._gains is not None and self._continuous[node] and self._gains.enough(node)

    def _with_classes(
        self,
        node: int,
        parents: Int[np.ndarray, "F p"],
        mechanisms: Float[np.ndarray, " F"],
        additive: Float[np.ndarray, " F"],
        needed: Bool[np.ndarray, " F"],
    ) -> Float[np.ndarray, " F"]:
        """The mixture over noise and variance; mechanisms with Gaussian noise of constant variance
        where classes are not needed."""
        assert self._gains is not None
        varying = self.weights.variance if self._variance and parents.shape[1] else 0.0
        noise = self.weights.noise
        scores = mechanisms + np.log((1 - varying) * (1 - noise))
        if not needed.any():
            return scores
        parents = parents[needed]
        weights = self._noise_weights()
        gains = self._gains.constant(node, parents)
        part = np.log(1 - varying) + mechanisms[needed] + _mixed(gains, weights)
        if varying:
            gain, gains = self._gains.varying(node, parents)
            other = np.log(varying) + additive[needed] + gain + _mixed(gains, weights)
            part = np.logaddexp(part, other)
        scores[needed] = part
        return scores


def _mixed(
    gains: Float[np.ndarray, "F c"], weights: Float[np.ndarray, " c+1"]
) -> Float[np.ndarray, " F"]:
    """log sum of weighted classes; the first is Gaussian, with gain 0."""
    gaussian = np.zeros((len(gains), 1))
    return logsumexp(np.hstack([gaussian, gains]) + weights, axis=1)
