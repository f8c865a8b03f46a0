"""The heat map of a probe and the config of its best cell."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLUMNS = ('layer', 'timestep', 'channels', 'stride', 'linear', 'knn')


def draw_heat_map(rows: list[dict], path: Path) -> None:
    """Layers x timesteps, a panel a probe, the best cell framed."""
    layers = list(dict.fromkeys(row['layer'] for row in rows))
    timesteps = sorted({int(row['timestep']) for row in rows})
    figure = Figure(figsize=(5 + 0.9 * len(timesteps), 1.6 + 0.28 * len(layers)), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(panels, (('linear', 'linear probe'), ('knn', '10 nearest neighbours')), strict=True):
        values = np.full((len(layers), len(timesteps)), np.nan)
        for row in rows:
            values[layers.index(row['layer']), timesteps.index(int(row['timestep']))] = float(row[key])
        image = axes.imshow(values, aspect='auto')
        y, x = np.unravel_index(np.nanargmax(values), values.shape)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor='red', linewidth=2))
        axes.set(title=f'{title}, best {values[y, x]:.1f} %', xlabel='timestep')
        axes.set_xticks(range(len(timesteps)), timesteps)
        axes.set_yticks(range(len(layers)), layers)
        figure.colorbar(image, ax=axes, label='test accuracy, %')
    unfinished = path.with_suffix('.unfinished.png')
    FigureCanvasAgg(figure).print_png(unfinished)
    unfinished.rename(path)


def write_snippet(rows: list[dict], num_test: int, path: Path) -> str:
    """The best (layer, t) by the linear probe as a config to paste under ``_base_``."""
    best = max(rows, key=lambda row: float(row['linear']))
    text = (
        f'# linear probe {best["linear"]} %, nearest neighbours {best["knn"]} %, on {num_test} test images\n'
        'model = dict(\n'
        f'    teacher=dict(layers=[{best["layer"]!r}]),\n'
        f"    timestep_policy=dict(_delete_=True, type='FixedPolicy', timestep={best['timestep']}))\n"
    )
    path.write_text(text)
    return text
