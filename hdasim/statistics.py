"""Student's t distribution, for tests and confidence intervals on few values."""

import math


def student_cdf(t: float, degrees: int) -> float:
    """P(T <= t) with whole degrees of freedom: the finite series of Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even).

    Raises ValueError if `degrees` is less than 1.
    """
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {degrees}")
    angle = math.atan2(t, math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for k in range(2 + odd, degrees - 1, 2):  # 2/3 cos^3, 2/3 4/5 cos^5, .. or 1/2 cos^2, 1/2 3/4 cos^4, ..
        term *= cosine**2 * (k - 1) / k
        total += term
    both = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 * (1 + both)


def student_quantile(p: float, degrees: int) -> float:
    """t with P(T <= t) = p, to 1e-9: (0.975, 2) is 4.303, half the width of a 95 % interval of the mean of three values.

    Raises ValueError unless 0 < p < 1 and `degrees` is at least 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must be between 0 and 1, got {p}")
    if p < 0.5:
        return -student_quantile(1 - p, degrees)
    high = 1.0
    while student_cdf(high, degrees) < p:
        high *= 2
    low = 0.0
    while high - low > 1e-9 * max(high, 1.0):
        middle = (low + high) / 2
        if student_cdf(middle, degrees) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2
