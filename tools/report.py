"""One HTML page, to be opened without a network, of one or several runs: python tools/report.py <work_dir> ..."""

import argparse
import os
from pathlib import Path

from report.page import build_sections, render
from report.runs import find_runs, group_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'work_dirs', nargs='+', type=Path, metavar='work_dir', help='--work-dir of a training, or a folder of several'
    )
    parser.add_argument('--out', type=Path, default=Path('report.html'), help='(%(default)s)')
    args = parser.parse_args()
    runs = find_runs(args.work_dirs)
    groups = group_runs(runs)
    common = os.path.commonpath([run.folder for run in runs])
    text = render(build_sections(groups), f'RepFusion: {Path(common).name}')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    partial = args.out.with_name(args.out.name + '.partial')
    partial.write_text(text)
    os.replace(partial, args.out)
    print(f'{args.out}: {len(runs)} run{"s" * (len(runs) > 1)}, {args.out.stat().st_size / 1e6:.1f} MB.')


if __name__ == '__main__':
    main()
