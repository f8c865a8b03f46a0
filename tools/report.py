"""One HTML page, to be opened without a network, of one or several runs: python tools/report.py <work_dir> ..."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'work_dirs', nargs='+', metavar='work_dir', help='--work-dir of a training, or a folder of several'
    )
    parser.add_argument('--out', default='report.html', help='(%(default)s)')
    args = parser.parse_args()

    from mmcls.apis.report import report
    from mmcls.errors import told

    with told():
        print(report(args.work_dirs, args.out))


if __name__ == '__main__':
    main()
