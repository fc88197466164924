"""Alpha from the noise of a clip: keyframes `noise:LOW..HIGH`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dnirender.errors import TimelineError
from dnirender.timeline.easing import parse_number, quote

MAX_SIGMA = 255


@dataclass(frozen=True)
class NoiseRange:
    """Alpha is 0 for noise of the standard deviation `low`, 1 for `high`, both of 255, and linear between them."""

    low: float
    high: float

    def keyframes(self, sigma: float) -> str:
        """One key that holds the alpha for noise of `sigma`."""
        return f"0:{min(max((sigma - self.low) / (self.high - self.low), 0.0), 1.0):.3f}"

    def describe(self, sigma: float) -> str:
        """What was measured, and that it is out of range where it is."""
        side = "below" if sigma < self.low else "above" if sigma > self.high else ""
        beyond = f", {side} the range of {self.low:g} to {self.high:g}" if side else ""
        return f"noise of sigma {sigma:.1f} of 255{beyond}"


def parse_noise(text: str) -> NoiseRange | None:
    """Parses `noise:LOW..HIGH`; None for other keyframes. TimelineError: no such range."""
    found = re.fullmatch(r"\s*noise\s*:(.*)", text, re.IGNORECASE | re.DOTALL)
    if found is None:
        return None
    low, _, high = found[1].partition("..")
    ends = [parse_number(end.strip()) for end in (low, high)]
    numbers = [float(end) for end in ends if end is not None]
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1] <= MAX_SIGMA:
        raise TimelineError(
            f"keyframes: {quote(text.strip())}: expected noise:LOW..HIGH with 0 <= LOW < HIGH <= {MAX_SIGMA}, such as "
            "noise:15..50"
        )
    return NoiseRange(*numbers)
