"""How good features are without training a network: by neighbours, by a linear probe, and without any labels."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest_neighbours(features: Tensor, labels: Tensor, k: int = 10) -> tuple[float, float]:
    """Accuracy of the k nearest other images' vote, by cosine similarity of centred features, each image left out once.

    Args:
        features: ``(N, C)``.
        labels: Classes ``(N,)``.
        k: Neighbours that vote.

    Returns:
        tuple: Accuracy in %, and its standard error.
    """
    votes = labels[_nearest(features, k)]
    share = (votes.mode(1).values == labels).float().mean().item()
    return _percent(share, len(labels))


def neighbour_agreement(features: Tensor, others: Tensor, k: int = 10) -> tuple[float, float]:
    """Share of each image's k neighbours by one view that are its neighbours by another view of all images, too.

    Chance gives k of N - 1.

    Args:
        features: ``(N, C)``, of a view of each image.
        others: ``(N, C)``, of another view of each.
        k: Neighbours that are compared.

    Returns:
        tuple: The share in %, and its standard error over the images.
    """
    first, second = _nearest(features, k), _nearest(others, k)
    shares = 100 * (first[:, :, None] == second[:, None]).any(2).float().mean(1)
    return shares.mean().item(), shares.std().item() / sqrt(len(shares))


def _nearest(features: Tensor, k: int) -> Tensor:
    """The k nearest other images of each, by cosine similarity of centred features."""
    unit = F.normalize(features.float() - features.float().mean(0), dim=1)
    similarity = unit @ unit.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(min(k, len(features) - 1)).indices


def linear_probe(features: Tensor, labels: Tensor, folds: int = 5) -> tuple[float, float]:
    """Accuracy of a logistic regression on standardised features, by cross-validation.

    Args:
        features: ``(N, C)``.
        labels: Classes ``(N,)``.
        folds: Parts, of which each is classified by a regression on the others.

    Returns:
        tuple: Accuracy in %, and its standard error; the folds are not quite independent, so that it is a little low.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    fewest = int(labels.bincount()[labels.unique()].min())
    splits = StratifiedKFold(max(2, min(folds, fewest)), shuffle=True, random_state=0)
    said = cross_val_predict(linear_classifier(), features.float().numpy(), labels.numpy(), cv=splits)
    return _percent(float((said == labels.numpy()).mean()), len(labels))


def linear_classifier():
    """The scikit-learn model of every linear probe: a logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def effective_rank(features: Tensor) -> float:
    """In how many directions features vary, from 1 to C ("The Effective Rank", Roy and Vetterli, EUSIPCO 2007).

    Low where features have collapsed; high does not mean that they tell anything.

    Args:
        features: ``(N, C)``.
    """
    values = torch.linalg.svdvals(features.double() - features.double().mean(0))
    shares = values / values.sum().clamp_min(1e-12)
    return torch.special.entr(shares).sum().exp().item()


def _percent(share: float, count: int) -> tuple[float, float]:
    return 100 * share, 100 * sqrt(share * (1 - share) / count)
