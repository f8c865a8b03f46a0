"""What a drawn face looks like: a description from which picture, parts and points all follow."""

from dataclasses import dataclass, fields

import numpy as np

SKIN_TONES = [
    (0.98, 0.85, 0.76), (0.95, 0.78, 0.66), (0.89, 0.70, 0.55), (0.80, 0.60, 0.44),
    (0.68, 0.48, 0.34), (0.54, 0.37, 0.25), (0.41, 0.27, 0.18), (0.30, 0.19, 0.13),
]  # fmt: skip
HAIR_COLOURS = [
    (0.07, 0.06, 0.06), (0.16, 0.10, 0.07), (0.30, 0.18, 0.10), (0.45, 0.28, 0.15), (0.62, 0.42, 0.22),
    (0.80, 0.63, 0.36), (0.90, 0.80, 0.58), (0.58, 0.22, 0.09), (0.62, 0.62, 0.63), (0.85, 0.85, 0.86),
]  # fmt: skip
IRIS_COLOURS = [(0.22, 0.12, 0.06), (0.35, 0.22, 0.10), (0.30, 0.38, 0.20), (0.25, 0.45, 0.62), (0.42, 0.47, 0.50)]
LIPSTICKS = [(0.75, 0.07, 0.13), (0.85, 0.22, 0.38), (0.50, 0.05, 0.20), (0.80, 0.30, 0.20)]
HAIR_STYLES = ('bald', 'shaved', 'short', 'curly', 'bob', 'long', 'bun')

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """One face. Lengths are in half widths of an average face, angles in degrees, colours RGB in [0, 1].

    Left and right are the person's: the left eye is on the right of the picture.
    """

    seed: int  # of the textures
    # placement
    centre: tuple[float, float]  # of the point between the eyes, in sides of the picture
    scale: float  # half the width of the face, in sides of the picture
    yaw: float  # positive: turned to the right of the picture
    pitch: float  # positive: looking up
    roll: float  # positive: clockwise in the picture
    # the head
    width: float
    chin: float  # height of the chin below the eyes
    jaw: float  # 2 is pointed, 3.5 square
    eye_distance: float
    eye_size: float
    nose_size: float
    lip_fullness: float
    mouth_width: float
    brow_thickness: float
    skin: Colour
    iris: Colour
    # the expression
    eye_opening: tuple[float, float]  # right, left; 1 is normal
    gaze: tuple[float, float]
    brow_raise: float
    brow_frown: float
    smile: float  # -1 to 1
    mouth_opening: float
    # hair
    hair_style: str
    hair: Colour
    hairline: float  # height above the eyes
    fringe: float  # how far down the forehead it reaches, 0 to 1
    parting: float  # -1 to 1
    beard: float  # 0 to 1
    # what is worn
    make_up: Colour | None  # colour of the lips
    glasses: str | None  # 'clear' or 'sun'
    glasses_shape: float  # exponent of a superellipse: 2 is round, 5 nearly square
    hat: str | None  # 'cap', 'beanie' or 'brim'
    hat_colour: Colour
    earrings: str | None  # 'stud', 'hoop' or 'drop'
    necklace: str | None  # 'chain' or 'beads'
    jewellery: Colour
    cloth: str  # 'round', 'v' or 'collar'
    cloth_colour: Colour
    cloth_pattern: str  # 'plain', 'stripes' or 'checks'
    # the photograph
    occluder: str | None  # 'hand', 'microphone', 'cup' or 'bar'
    background: tuple[Colour, Colour]
    background_kind: str  # 'plain', 'gradient', 'blobs' or 'stripes'
    light: tuple[float, float]  # direction it comes from in the picture, x and y
    light_contrast: float
    exposure: float
    colour_cast: Colour
    blur: float  # standard deviation in thousandths of the picture's side
    noise: float

    @property
    def attributes(self) -> dict[str, int]:
        """The six binary attributes of WFLW, by name, in its order."""
        unusual_eyes = min(self.eye_opening) < 0.4 or max(self.eye_opening) > 1.35
        return {
            'pose': int(abs(self.yaw) > 30 or abs(self.pitch) > 17 or abs(self.roll) > 30),
            'expression': int(self.mouth_opening > 0.22 or abs(self.smile) > 0.75 or unusual_eyes),
            'illumination': int(self.light_contrast > 0.7 or not 0.6 < self.exposure < 1.4),
            'make-up': int(self.make_up is not None),
            'occlusion': int(self.occluder is not None or self.glasses == 'sun' or self.fringe > 0.9),
            'blur': int(self.blur > 8),
        }


def sample_scene(rng: np.random.Generator) -> Scene:
    """A random face; everything is drawn from ``rng``."""
    hair = _hair(rng)
    values = _head(rng) | _expression(rng) | hair | _worn(rng, hair['beard']) | _photograph(rng)
    return Scene(**{field.name: values[field.name] for field in fields(Scene)})


def _head(rng: np.random.Generator) -> dict:
    large_pose = rng.random() < 0.15
    return {
        'seed': int(rng.integers(2**31)),
        'centre': (0.5 + rng.uniform(-0.07, 0.07), 0.43 + rng.uniform(-0.04, 0.07)),
        'scale': rng.uniform(0.17, 0.23),
        'yaw': rng.choice([-1, 1]) * rng.uniform(32, 48) if large_pose else np.clip(rng.normal(0, 12), -29, 29),
        'pitch': np.clip(rng.normal(0, 10 if large_pose else 5), -20, 20),
        'roll': np.clip(rng.normal(0, 14 if large_pose else 6), -38, 38),
        'width': rng.uniform(0.92, 1.08),
        'chin': rng.uniform(1.6, 1.85),
        'jaw': rng.uniform(2.1, 3.3),
        'eye_distance': rng.uniform(0.46, 0.53),
        'eye_size': rng.uniform(0.85, 1.15),
        'nose_size': rng.uniform(0.85, 1.15),
        'lip_fullness': rng.uniform(0.7, 1.35),
        'mouth_width': rng.uniform(0.36, 0.46),
        'brow_thickness': rng.uniform(0.6, 1.4),
        'skin': _between(rng, SKIN_TONES),
        'iris': _pick(rng, IRIS_COLOURS),
    }


def _expression(rng: np.random.Generator) -> dict:
    mood = rng.choice(['calm', 'smile', 'laugh', 'surprise', 'anger', 'wink'], p=[0.4, 0.3, 0.1, 0.08, 0.07, 0.05])
    values = {
        'eye_opening': tuple(rng.uniform(0.8, 1.15) * rng.uniform(0.93, 1.07, 2)),
        'gaze': tuple(rng.uniform(-1, 1, 2)),
        'brow_raise': rng.uniform(-0.2, 0.3),
        'brow_frown': rng.uniform(-0.2, 0.2),
        'smile': rng.uniform(-0.25, 0.25),
        'mouth_opening': max(0, rng.uniform(-0.1, 0.06)),
    }
    changes = {
        'calm': {},
        'smile': {'smile': rng.uniform(0.35, 0.7), 'mouth_opening': max(0, rng.uniform(-0.1, 0.15))},
        'laugh': {'smile': rng.uniform(0.76, 1), 'mouth_opening': rng.uniform(0.15, 0.4)},
        'surprise': {'mouth_opening': rng.uniform(0.25, 0.5), 'brow_raise': 1, 'eye_opening': (1.4, 1.4)},
        'anger': {'brow_frown': rng.uniform(0.7, 1), 'smile': rng.uniform(-1, -0.76)},
        'wink': {'eye_opening': [(0.2, 1), (1, 0.2)][rng.integers(2)], 'smile': rng.uniform(0.2, 0.6)},
    }
    return values | changes[mood]


def _hair(rng: np.random.Generator) -> dict:
    style = _pick(rng, HAIR_STYLES)
    return {
        'hair_style': style,
        'hair': _between(rng, HAIR_COLOURS, 0.3),
        'hairline': rng.uniform(0.95, 1.2),
        'fringe': rng.uniform(0.3, 1) if style in ('short', 'bob', 'long') and rng.random() < 0.35 else 0.0,
        'parting': rng.uniform(-0.7, 0.7),
        'beard': rng.uniform(0.2, 0.85) if style not in ('bob', 'long', 'bun') and rng.random() < 0.4 else 0.0,
    }


def _worn(rng: np.random.Generator, beard: float) -> dict:
    return {
        'make_up': _pick(rng, LIPSTICKS) if not beard and rng.random() < 0.3 else None,
        'glasses': rng.choice([None, 'clear', 'sun'], p=[0.74, 0.18, 0.08]),
        'glasses_shape': rng.uniform(2, 5),
        'hat': rng.choice([None, 'cap', 'beanie', 'brim'], p=[0.79, 0.07, 0.07, 0.07]),
        'hat_colour': _any_colour(rng),
        'earrings': rng.choice([None, 'stud', 'hoop', 'drop'], p=[0.67, 0.11, 0.11, 0.11]),
        'necklace': rng.choice([None, 'chain', 'beads'], p=[0.75, 0.13, 0.12]),
        'jewellery': _pick(rng, [(0.93, 0.78, 0.35), (0.83, 0.85, 0.88), (0.75, 0.15, 0.22), (0.15, 0.45, 0.65)]),
        'cloth': _pick(rng, ('round', 'v', 'collar')),
        'cloth_colour': _any_colour(rng),
        'cloth_pattern': _pick(rng, ('plain', 'plain', 'stripes', 'checks')),
    }


def _photograph(rng: np.random.Generator) -> dict:
    extreme_light, blurred = rng.random() < 0.15, rng.random() < 0.12
    angle = rng.uniform(0, 2 * np.pi)
    return {
        'occluder': rng.choice([None, 'hand', 'microphone', 'cup', 'bar'], p=[0.82, 0.06, 0.04, 0.04, 0.04]),
        'background': (_any_colour(rng), _any_colour(rng)),
        'background_kind': _pick(rng, ('plain', 'gradient', 'blobs', 'stripes')),
        'light': (np.cos(angle), min(np.sin(angle), 0.3)),
        'light_contrast': rng.uniform(0.75, 1) if extreme_light else rng.uniform(0.15, 0.5),
        'exposure': _pick(rng, (0.45, 1, 1.5)) if extreme_light else rng.uniform(0.8, 1.15),
        'colour_cast': tuple(rng.uniform(0.93, 1.07, 3)),
        'blur': rng.uniform(9, 16) if blurred else rng.uniform(0, 2.5),
        'noise': rng.uniform(0, 0.02),
    }


def _pick(rng: np.random.Generator, choices):
    return choices[rng.integers(len(choices))]


def _between(rng: np.random.Generator, colours: list[Colour], spread: float = 1.0) -> Colour:
    """A colour between two neighbours of the list."""
    start = rng.integers(len(colours) - 1)
    return tuple(np.add(colours[start], spread * rng.random() * np.subtract(colours[start + 1], colours[start])))


def _any_colour(rng: np.random.Generator) -> Colour:
    return tuple(rng.uniform(0.08, 0.95) * rng.uniform(0.4, 1, 3))
