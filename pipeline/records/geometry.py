"""Boxes, lines and zones, in shares of the picture: 0,0 is its upper left corner and 1,1 the lower right one."""

from dataclasses import dataclass
from typing import Self

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place in the picture."""

    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An upright rectangle."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        """Its middle."""
        return Point(x=self.left + self.width / 2, y=self.top + self.height / 2)

    @property
    def bottom_centre(self) -> Point:
        """Where whoever is in the box stands."""
        return Point(x=self.left + self.width / 2, y=self.top + self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """An object that a detector sees in one picture."""

    box: Box
    label: str | None
    confidence: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line with a direction: left and right are as seen from its first point to its second."""

    name: str
    first: Point
    second: Point

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME:x1,y1,x2,y2``.

        Raises:
            UsageError: it is not that, or both points are the same.
        """
        name, points = _named_points(text, what="line", form="NAME:x1,y1,x2,y2")
        if len(points) != 2 or points[0] == points[1]:
            raise UsageError(f"bad line {text!r}: use NAME:x1,y1,x2,y2 with two different points")
        return cls(name=name, first=points[0], second=points[1])

    def __str__(self) -> str:
        return f"{self.name}:{self.first.x},{self.first.y},{self.second.x},{self.second.y}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A polygon."""

    name: str
    points: tuple[Point, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME:x,y,x,y,x,y...``.

        Raises:
            UsageError: it is not that, or has fewer than three points.
        """
        name, points = _named_points(text, what="zone", form="NAME:x,y,x,y,x,y...")
        if len(points) < 3:
            raise UsageError(f"bad zone {text!r}: use NAME:x,y,x,y,x,y... with at least three points")
        return cls(name=name, points=points)

    def __str__(self) -> str:
        return f"{self.name}:" + ",".join(f"{point.x},{point.y}" for point in self.points)


def _named_points(text: str, *, what: str, form: str) -> tuple[str, tuple[Point, ...]]:
    name, _, rest = text.partition(":")
    try:
        numbers = [float(word) for word in rest.split(",")]
    except ValueError:
        numbers = []
    if not name.strip() or not numbers or len(numbers) % 2 or not all(0 <= each <= 1 for each in numbers):
        raise UsageError(f"bad {what} {text!r}: use {form} with numbers from 0 to 1")
    return name, tuple(Point(x=x, y=y) for x, y in zip(numbers[::2], numbers[1::2], strict=True))
