"""The six weathers: light, sky, fog and wetness. Colours are linear RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How one weather looks. Every number enters the shaders."""

    sun_elevation: float  # rad above the horizon
    sun_azimuth: float  # rad, map, counter-clockwise from x
    sun: Rgb  # light of the sun on a surface that faces it
    sky_light: Rgb  # light from above
    ground_light: Rgb  # light from below
    zenith: Rgb  # colour of the sky overhead
    horizon: Rgb  # colour of the sky at the horizon, and of the fog
    fog: float  # 1/m, share of light lost per metre
    clouds: float  # 0 .. 1
    wetness: float  # 0 .. 1, darkens and mirrors the road
    rain: float  # 0 .. 1, streaks in the air
    lamps: float  # 0 .. 1, street lamps, headlights and windows

    @property
    def sun_direction(self) -> np.ndarray:
        """(3,) unit vector towards the sun, map."""
        c = np.cos(self.sun_elevation)
        return np.array([c * np.cos(self.sun_azimuth), c * np.sin(self.sun_azimuth), np.sin(self.sun_elevation)])


LOOKS = {
    "clear": Look(0.85, 0.9, (1.05, 0.98, 0.86), (0.30, 0.35, 0.44), (0.13, 0.12, 0.10),
                  (0.10, 0.24, 0.60), (0.52, 0.64, 0.78), 0.0012, 0.35, 0.0, 0.0, 0.0),
    "overcast": Look(1.0, 0.9, (0.10, 0.10, 0.10), (0.58, 0.60, 0.64), (0.20, 0.20, 0.20),
                     (0.40, 0.43, 0.48), (0.62, 0.64, 0.67), 0.0025, 1.0, 0.0, 0.0, 0.0),
    "rain": Look(1.0, 0.9, (0.02, 0.02, 0.02), (0.36, 0.38, 0.42), (0.12, 0.12, 0.13),
                 (0.20, 0.22, 0.25), (0.36, 0.38, 0.41), 0.008, 1.0, 1.0, 1.0, 0.25),
    "fog": Look(1.0, 0.9, (0.03, 0.03, 0.03), (0.52, 0.54, 0.56), (0.22, 0.22, 0.22),
                (0.55, 0.57, 0.59), (0.58, 0.60, 0.62), 0.030, 1.0, 0.2, 0.0, 0.35),
    "dusk": Look(0.16, 2.6, (0.85, 0.42, 0.16), (0.16, 0.15, 0.22), (0.07, 0.05, 0.05),
                 (0.05, 0.07, 0.20), (0.62, 0.33, 0.20), 0.0025, 0.5, 0.0, 0.0, 0.6),
    "night": Look(0.7, 2.6, (0.016, 0.020, 0.030), (0.028, 0.032, 0.046), (0.010, 0.010, 0.012),
                  (0.003, 0.005, 0.014), (0.013, 0.015, 0.024), 0.004, 0.2, 0.0, 0.0, 1.0),
}  # fmt: skip

WEATHERS = tuple(LOOKS)


def look_of(name: str) -> Look:
    """The look of a weather; raises ValueError that lists the names for any other."""
    if name not in LOOKS:
        raise ValueError(f"weather {name!r} is unknown; choose one of {', '.join(WEATHERS)}")
    return LOOKS[name]
