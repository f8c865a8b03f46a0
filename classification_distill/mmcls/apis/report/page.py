"""Puts the page together."""

import hashlib
import shlex
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex

from ...progress import ProgressBar
from ...visualization.timesteps import draw_by_class, draw_through_training, shares_of
from .configs import Difference, differences
from .curves import Curve, draw_curves, style_of
from .figures import picture
from .images import as_url
from .insight import Insight, look_into
from .predictions import DRAWN, draw_predictions, samples
from .results import Results, summarize
from .runs import Group

ORDER = ('Diffusion models', 'Distillation', 'Classification', 'Face parsing', 'Landmarks')
PACKAGES = ('repfusion', 'torch', 'onedl-mmengine', 'onedl-mmpretrain', 'onedl-mmsegmentation', 'mmpose', 'diffusers')


@dataclass
class Look:
    """What the pictures of one group show.

    Attributes:
        group: The group; pictures are of its first run.
        why_not: A sentence that says why there are no pictures; empty where there are.
        policy: Figures of the policy, by title.
        choices: ``(URL of an image, what the policy says of it)``.
        layers: ``layer -> {column: URLs, one an image}``.
        pictures: ``title -> URL`` of predictions or samples.
    """

    group: Group
    why_not: str = ''
    policy: dict[str, Markup] = field(default_factory=dict)
    choices: list[tuple[str, str]] = field(default_factory=list)
    layers: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)


@dataclass
class Section:
    """Runs that can be compared with each other."""

    id: str
    title: str
    groups: list[Group]
    colors: list[str]
    results: Results
    curves: list[Curve]
    differences: list[Difference]
    looks: list[Look]


def build_sections(groups: Sequence[Group]) -> list[Section]:
    """Read, draw and look, with a bar at a terminal."""
    kinds = [kind for kind in ORDER if any(group.first.kind == kind for group in groups)]
    sections = []
    with ProgressBar(total=len(groups), unit='group') as bar:
        for number, kind in enumerate(kinds):
            members = [group for group in groups if group.first.kind == kind]
            name = f's{number}'
            looks = []
            for i, group in enumerate(members):
                bar.set_description(group.name)
                looks.append(_look(f'{name}-p{i}', group))
                bar.update()
            sections.append(
                Section(
                    id=name,
                    title=kind,
                    groups=members,
                    colors=[to_hex(style_of(i)['color']) for i in range(len(members))],
                    results=summarize(name, members),
                    curves=draw_curves(name, members),
                    differences=differences(members),
                    looks=looks,
                )
            )
    return sections


def _look(name: str, group: Group) -> Look:
    run, look = group.first, Look(group)
    if any(run.histogram for run in group.runs):
        look.policy['Through training'] = _draw_history(f'{name}-t', group)
    if run.kind == 'Diffusion models':
        look.pictures = samples(run)
    elif run.kind in DRAWN:
        found = draw_predictions(run)
        look.why_not = found if isinstance(found, str) else ''
        look.pictures = {} if look.why_not else {f'test image {i + 1}': url for i, url in enumerate(found)}
    elif run.kind == 'Distillation':
        found = look_into(run)
        if isinstance(found, str):
            look.why_not = found
        else:
            _show(look, name, found)
    return look


def _show(look: Look, name: str, found: Insight) -> None:
    images = [as_url(image) for image in found.images]
    if found.by_class is not None:
        size = {'height': min(6.0, max(2.7, 0.7 + 0.2 * len(found.classes)))}
        with picture(f'{name}-c', 'Timesteps, by class', **size) as drawn:
            bar = draw_by_class(drawn.axes, found.by_class, found.classes, found.num_timesteps)
            drawn.draw_bar(bar, 'probability')
        look.policy['By class, at the end'] = drawn.svg
    look.choices = list(zip(images, found.choices, strict=True)) if found.choices else []
    look.layers = {
        layer: {'image': images} | {title: [as_url(p) for p in pixels] for title, pixels in columns.items()}
        for layer, columns in found.layers.items()
    }


def _draw_history(name: str, group: Group) -> Markup:
    """Mean of the runs, as far as all of them went."""
    histograms = [run.histogram for run in group.runs if run.histogram]
    length = min(map(len, histograms))
    shares = np.mean([shares_of(np.array([row['counts'] for row in rows[:length]])) for rows in histograms], axis=0)
    last = histograms[0][length - 1]
    with picture(name, f'Timesteps through training, {group.name}') as drawn:
        bar = draw_through_training(drawn.axes, shares, last['iter'], last['num_timesteps'])
        drawn.draw_bar(bar, 'share of images')
    return drawn.svg


def render(sections: Sequence[Section], title: str) -> str:
    """The page; whatever a config or a data set says is escaped."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (folder / 'page.js').read_text()
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template('page.html.jinja').render(
        title=title,
        today=date.today().isoformat(),
        sections=sections,
        versions=_versions(sections),
        packages={package: version(package) for package in PACKAGES},
        command=_command,
        style=Markup((folder / 'page.css').read_text()),
        script=Markup(script),
        script_hash=f'sha256-{digest}',
    )


def _versions(sections: Sequence[Section]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for run in (run for section in sections for group in section.groups for run in group.runs):
        for key, value in run.environment.items():
            found.setdefault(key, []).append(value)
    return {key: '; '.join(dict.fromkeys(values)) for key, values in found.items()}


def _command(group: Group) -> str:
    """What trains the group's first run again."""
    run = group.first
    processes = run.environment.get('GPU number', '1')
    config = run.config_file.resolve() if run.config_file else '<CONFIG>'
    work_dir = f'work_dirs/again/{run.folder.name}'
    command = ['bash', 'tools/dist_train.sh', str(config), processes, '--work-dir', work_dir]
    if run.config.get('resume'):  # as it was dumped by a run that went on: from the end, nothing would be trained
        command += ['--cfg-options', 'resume=False', 'load_from=None']
    return f'cd {shlex.quote(str(run.tree))}\n{shlex.join(command)}'
