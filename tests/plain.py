"""Plain NumPy versions that tests compare with and benchmarks measure against."""

import numpy as np


def huber_objective(theta, log_params, log_tokens, log_loss, weight, delta):
    """Sum of Huber losses and its gradient by (log a, log b, log e, alpha, beta)."""
    terms = np.stack(
        [
            theta[0] - theta[3] * log_params,
            theta[1] - theta[4] * log_tokens,
            np.full_like(log_loss, theta[2]),
        ]
    )
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    total = parts.sum(axis=0)
    residual = top + np.log(total) - log_loss
    clipped = np.clip(residual, -delta, delta)
    slopes = weight * clipped * parts / total
    gradient = [*slopes.sum(axis=1), -(slopes[0] @ log_params), -(slopes[1] @ log_tokens)]
    return float((weight * clipped * (residual - clipped / 2)).sum()), np.array(gradient)
