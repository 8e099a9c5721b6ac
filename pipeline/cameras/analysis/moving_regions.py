"""``--detect motion``: what moves before a fixed camera is an object, without any weights."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.cameras.analysis.background import Background, Compared, Mask, grown, shrunk
from pipeline.cameras.analysis.lighting import Light, Luma, light_of
from pipeline.cameras.analysis.regions import Region, regions_of
from pipeline.records.geometry import Box, Detection

MOTION_LABEL = "motion"

_BEHIND_S = 0.35
"""How far back a picture is compared to see what moves now."""

_MOVING_SHARE = 0.15
"""Of a region's pixels, for it to be moving."""

_KNOWN_SHARE = 0.3
"""Of a region's pixels that were an object's in the picture before, for it to be that object still."""

_STILL_SHARE, _STILL_S = 0.7, 1.0
"""A region stands still when so much of it has, for so long."""

_GHOST_TIMES = 1.2
"""Where the background has edges so many times as strong around a region as the picture, the background is wrong."""

_ABSORBED_S = 60.0
"""What has come and then stands still for this long is background: a parked car."""

_NEVER_MOVED_S = 2.0
"""What differs from the background, stands still and never came is background much sooner: light that wandered."""


_OTHER_SCENE_SHARE, _OTHER_SCENE_S = 0.5, 1.0
"""Where so much of the picture is other than the background for so long, the camera was turned, or a film was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    time_s: float
    light: Light
    """In the background's exposure."""


class MovingRegions:
    """Of one session: finds what differs from the background and has moved."""

    def __init__(self) -> None:
        self._state: _State | None = None

    def find(self, luma: Luma, time_s: float) -> Sequence[Detection]:
        """The objects in the next picture. Whatever has come stays an object while it stands still, for a minute."""
        light = light_of(luma)
        if self._state is None or self._state.shape != light.shape:
            self._state = _State(light, time_s)
            return ()
        height, width = light.shape
        return tuple(
            Detection(
                box=Box(
                    left=region.left / width,
                    top=region.top / height,
                    width=region.mask.shape[1] / width,
                    height=region.mask.shape[0] / height,
                ),
                label=MOTION_LABEL,
                confidence=None,
            )
            for region in self._state.objects(light, time_s)
        )


class _State:
    """What is remembered from picture to picture."""

    def __init__(self, light: Light, time_s: float) -> None:
        self._begin(light, time_s)

    def _begin(self, light: Light, time_s: float) -> None:
        self.shape = light.shape
        self._background = Background(light)
        self._time_s = time_s
        self._seen: deque[_Seen] = deque([_Seen(time_s=time_s, light=light)])
        self._still_s = np.zeros(light.shape, np.float32)
        """For how long each pixel has been other than the background, and the same."""
        self._known: Mask = np.zeros(light.shape, np.bool_)
        """Where objects were in the picture before."""
        self._other_s = 0.0
        """For how long nearly all has been other than the background."""

    def objects(self, light: Light, time_s: float) -> list[Region]:
        since_s, self._time_s = max(0.0, time_s - self._time_s), time_s
        compared = self._background.compare(light)
        other, moving = compared.is_other, self._moving(compared, time_s)
        self._other_s = self._other_s + since_s if other.mean() > _OTHER_SCENE_SHARE else 0.0
        if self._other_s > _OTHER_SCENE_S:
            self._begin(light, time_s)
            return []
        self._still_s = np.where(other & ~moving, self._still_s + np.float32(since_s), np.float32(0))
        objects, known, ghosts = [], np.zeros(self.shape, np.bool_), np.zeros(self.shape, np.bool_)
        for region in regions_of(compared):
            if self._is_still(region) and _is_ghost(region, compared):
                ghosts[region.rectangle] |= region.mask
            elif region.within(moving) > _MOVING_SHARE or region.within(self._known) > _KNOWN_SHARE:
                known[region.rectangle] |= region.mask
                objects.append(region)
        most_s = np.where(grown(known, 9), _ABSORBED_S, _NEVER_MOVED_S)
        replaced = (self._still_s > most_s) | grown(ghosts, 5)
        covered = grown(other, 3)
        self._background.learn(compared, since_s=since_s, covered=covered, replaced=replaced)
        self._still_s[replaced] = 0
        self._known = known & ~replaced
        return objects

    def _moving(self, compared: Compared, time_s: float) -> Mask:
        light = compared.light / compared.gain
        while len(self._seen) > 1 and self._seen[1].time_s <= time_s - _BEHIND_S:
            self._seen.popleft()
        before = self._seen[0].light
        self._seen.append(_Seen(time_s=time_s, light=light))
        moving: Mask = np.abs(light - before) > compared.threshold / compared.gain
        return moving

    def _is_still(self, region: Region) -> bool:
        return region.within(self._still_s >= _STILL_S) > _STILL_SHARE


def _edges_of(light: Light) -> Light:
    from scipy import ndimage

    edges: Light = np.hypot(ndimage.sobel(light, 0), ndimage.sobel(light, 1))
    return edges


def _is_ghost(region: Region, compared: Compared) -> bool:
    """Whether a region is where something was when the session began: its outline is in the background alone."""
    mask = np.pad(region.mask, 1)
    outline = (grown(mask, 3) ^ shrunk(mask, 3))[1:-1, 1:-1]
    edges, expected = (_edges_of(light)[region.rectangle][outline] for light in (compared.light, compared.expected))
    return bool(expected.mean() > _GHOST_TIMES * edges.mean())
