"""Test a trained model of any tree: python tools/test.py <CONFIG> <CHECKPOINT> [--out FILE] [--show-dir DIR] ..."""

import argparse
import os
from pathlib import Path

from mmcls.engine.data_check import check_data
from mmcls.engine.launch import add_common_arguments, build_runner, load_config
from mmengine import dump
from mmengine.config import Config
from mmengine.dist import is_main_process
from torch.distributed.elastic.multiprocessing.errors import record


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a model')
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file of a training run')
    parser.add_argument('--out', help='write the metrics to this .json file')
    parser.add_argument('--show-dir', help='draw predictions into this folder; of several processes, the first draws')
    return parser.parse_args()


def draw_predictions(config: Config, folder: str) -> None:
    """Switch the library's own visualization hook on, for every image.

    Raises:
        ValueError: When the config is of no library whose predictions can be drawn.
    """
    folder, scope = os.path.abspath(folder), config.get('default_scope')
    hooks = {
        'mmpretrain': {'type': 'VisualizationHook', 'enable': True, 'interval': 1, 'resize': 224, 'out_dir': folder},
        'mmseg': {'type': 'SegVisualizationHook', 'draw': True},
        'mmpose': {'type': 'PoseVisualizationHook', 'enable': True, 'kpt_thr': 0, 'out_dir': folder},
    }
    if scope not in hooks:
        raise ValueError(
            f'--show-dir: the config says default_scope={scope!r}; {", ".join(hooks)} can draw predictions.'
        )
    config.setdefault('default_hooks', {})
    config.default_hooks.visualization = hooks[scope]
    if scope == 'mmseg':  # its hook leaves the folder to the visualizer
        config.visualizer.vis_backends = [{'type': 'LocalVisBackend', 'save_dir': folder, 'img_save_dir': '.'}]


@record  # the error is what torchrun ends with
def main() -> None:
    args = parse_args()
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint {args.checkpoint!r} in {Path.cwd()}.')
    config = load_config(args)
    config.load_from = args.checkpoint
    if args.show_dir:
        draw_predictions(config, args.show_dir)
    check_data(config, ['test'])
    metrics = build_runner(config).test()
    if args.out and is_main_process():
        partial = f'{args.out}.partial'
        dump(metrics, partial, file_format='json')
        os.replace(partial, args.out)


if __name__ == '__main__':
    main()
