"""What the models of two starts say of the same test images, side by side."""

from collections import Counter
from contextlib import chdir
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from ..apis.jobs import Test
from ..configs import ROOT
from ..engine import prepare_config
from ..weights import load_completely
from .comparison import Comparison

COLUMNS = 12
RIGHT, WRONG = '#d8d8d8', '#d62728'


@torch.no_grad()
def classify(test: Test, count: int) -> tuple[np.ndarray, list[str], list[str]]:
    """What a tested classifier says of about ``count`` test images, evenly spread over the test set.

    Returns:
        tuple: The images ``(N, H, W, 3)``, uint8, their classes, and the classes that it says.
    """
    with chdir(ROOT / test.tree):
        config = prepare_config(test.config, test.cfg_options[1:])
        init_default_scope(config.default_scope)
        dataset = Runner.build_dataloader(config.test_dataloader).dataset
        model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor}).eval()
        load_completely(model, str(test.checkpoint), 'test')
        samples = [dataset[i] for i in np.linspace(0, len(dataset) - 1, count).astype(int)]
        batch = {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}
        said = model.test_step(batch)
    names = config.test_dataloader.dataset.get('dataset', config.test_dataloader.dataset).metainfo.classes
    truth = [names[int(sample['data_samples'].gt_label)] for sample in samples]
    images = np.stack([sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1] for sample in samples])
    return images, truth, [names[int(sample.pred_label)] for sample in said]


def compare(comparison: Comparison, path: Path) -> Path:
    """Draw what the strongest scratch and the highlighted start say with the fewest labels, over all seeds."""
    MMLogger.get_instance('demo', log_level='WARNING')  # loading a checkpoint is no news
    labels = comparison.label_counts[0]
    starts = (comparison.strongest_scratch(labels), comparison.highlighted)
    draw_side_by_side(
        {
            f'{start}, {labels:,} labels': [comparison.tests[start, labels, seed] for seed in comparison.seeds]
            for start in starts
        },
        path,
    )
    return path


def draw_side_by_side(tests: dict[str, list[Test]], path: Path, count: int = 96) -> None:
    """The same test images once for each start: the more of its models are wrong, the redder an image's frame.

    Args:
        tests: The tested classifiers of two starts, by title.
        path: Where to write the picture.
        count: Images.
    """
    rows = -(-count // COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS * 0.45 + 0.5, rows * 0.6 + 0.7), layout='constrained')
    for part, (title, models) in zip(figure.subfigures(1, len(tests)), tests.items(), strict=True):
        answers = [classify(test, count) for test in models]
        images, truth, _ = answers[0]
        said = np.array([answer for _, _, answer in answers])  # (models, images)
        wrong = said != np.array(truth)
        part.suptitle(f'{title}: {wrong.mean():.0%} wrong', fontsize=11)
        panels = part.subplots(rows, COLUMNS, squeeze=False).flat
        for panel, image, errors, names in zip(panels, images, wrong.T, said.T, strict=False):
            panel.imshow(image)
            panel.set(xticks=[], yticks=[])
            share = errors.mean()
            for side in panel.spines.values():
                side.set(color=WRONG if share else RIGHT, alpha=max(share, 0.25), linewidth=1 + 2 * share)
            if share > 0.5:
                most = Counter(names[errors].tolist()).most_common(1)[0][0]
                panel.set_xlabel(most, fontsize=6, color=WRONG, labelpad=1)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
