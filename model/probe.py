"""A calibrated linear probe: a few labels in, a class and its confidence out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from twinjet.model.errors import DatasetError

# Fewer of a class cannot be spread over parts that both train and judge.
LEAST_OF_A_CLASS = 4

_PARTS = 5

# Inverse strengths of regularisation that are tried.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes
    ----------
    classes
        Names of the C classes, in order.
    report
        Plain data: labels used, cross-validated error with its standard error,
        log loss, expected calibration error, confusion matrix.
    """

    classes: list[str]
    report: dict[str, Any]
    _model: CalibratedClassifierCV

    def predict(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Most likely class of each vector and the confidence in it.

        Parameters
        ----------
        vectors
            Shape (N, D), unit norm.

        Returns
        -------
        classes
            Shape (N,): rows of `classes`.
        confidence
            Shape (N,), 1/C to 1: of sources given this confidence about this part
            is of the class named, if they are like those that were labelled.
        """
        if len(vectors) == 0:
            return np.empty(0, np.int64), np.empty(0)
        likely = self._model.predict_proba(vectors.astype(np.float64))
        return likely.argmax(axis=1), likely.max(axis=1)


def fit_probe(
    vectors: NDArray[np.float32],
    labels: NDArray[np.str_],
    groups: NDArray[np.int64],
) -> Probe:
    """Logistic regression on standardised embeddings, calibrated by temperature.

    Strength of regularisation and temperature (Guo et al. 2017, arXiv:1706.04599)
    come from predictions on parts of the sky that were not fitted; so does the
    error, which is therefore slightly too good by the choice among five strengths.

    Parameters
    ----------
    vectors
        Shape (N, D), unit norm.
    labels
        Shape (N,).
    groups
        Shape (N,): sources of one group, such as a cell of the sky, are never both
        fitted and judged.

    Raises
    ------
    DatasetError
        Fewer than two classes, or a class with too few sources or groups.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> names = np.repeat(["one", "two"], 20)
    >>> vectors = rng.normal(size=(40, 3)) + 3 * (names == "two")[:, None]
    >>> probe = fit_probe(vectors, names, np.arange(40))
    >>> probe.report["error"] < 0.1
    True
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if len(classes) < 2:  # noqa: PLR2004 - to tell apart
        msg = f"a probe takes two classes or more; the labels have {len(classes)}"
        raise DatasetError(msg, limit=2, actual=len(classes))
    grouped = [len(set(groups[labels == name].tolist())) for name in classes]
    fewest = min(int(sizes.min()), *grouped)
    if fewest < LEAST_OF_A_CLASS:
        rare = str(classes[int(np.argmin(np.minimum(sizes, grouped)))])
        msg = (
            f"class {rare!r} has {fewest} labelled sources in different places; "
            f"it takes {LEAST_OF_A_CLASS} or more"
        )
        raise DatasetError(msg, limit=LEAST_OF_A_CLASS, actual=fewest)
    parts = min(_PARTS, fewest)
    # In float32 softmaxes sum to 1 too roughly for what judges them.
    vectors_64 = vectors.astype(np.float64)
    folds = list(
        StratifiedGroupKFold(parts, shuffle=True, random_state=0).split(
            vectors_64, labels, groups
        )
    )
    # BLAS in threads beside torch's makes both several times slower.
    with threadpool_limits(1, user_api="blas"):
        losses = {
            strength: log_loss(
                labels,
                cross_val_predict(
                    _regression(strength),
                    vectors_64,
                    labels,
                    cv=folds,
                    method="predict_proba",
                ),
                labels=classes,
            )
            for strength in _STRENGTHS
        }
        strength = min(losses, key=lambda known: losses[known])
        model = CalibratedClassifierCV(
            _regression(strength), method="temperature", ensemble=False, cv=folds
        ).fit(vectors_64, labels)
        # The calibration of each part is that of the rest of it, by its own folds.
        judged = cross_val_predict(
            CalibratedClassifierCV(
                _regression(strength), method="temperature", ensemble=False, cv=3
            ),
            vectors_64,
            labels,
            cv=folds,
            method="predict_proba",
        )
    return Probe(
        classes=[str(name) for name in classes],
        report=_report(judged, labels, classes) | {"regularisation": strength},
        _model=model,
    )


def _regression(strength: float) -> Any:
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=2000)
    )


def _report(
    likely: NDArray[np.float64], labels: NDArray[np.str_], classes: NDArray[np.str_]
) -> dict[str, Any]:
    guess = classes[likely.argmax(axis=1)]
    wrong = guess != labels
    error = float(wrong.mean())
    table = confusion_matrix(labels, guess, labels=classes)
    return {
        "labels": {str(c): int((labels == c).sum()) for c in classes},
        "error": round(error, 4),
        "standard_error": round(float(np.sqrt(error * (1 - error) / len(wrong))), 4),
        "log_loss": round(float(log_loss(labels, likely, labels=classes)), 4),
        "calibration_error": round(_calibration_error(likely.max(axis=1), ~wrong), 4),
        "confusion": {
            str(c): {str(d): int(n) for d, n in zip(classes, row, strict=True)}
            for c, row in zip(classes, table, strict=True)
        },
    }


def _calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> float:
    """Mean distance between confidence and what is right of it, in ten bins.

    Expected calibration error of Guo et al. (2017), equation 3.
    """
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = [
        abs(float((right[which == b] - confidence[which == b]).sum()))
        for b in range(bins)
    ]
    return sum(gaps) / len(confidence)
