"""What a comparison with a recorded number says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One case: the largest absolute error and how large it may be."""

    case: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit
