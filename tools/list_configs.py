"""Write the table of all trees' configs into classification_distill/configs/README.md, from the loaded configs."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if the table is not up to date')
    args = parser.parse_args()

    from mmcls.apis.config_table import update
    from mmcls.errors import told

    with told():
        update(args.check)


if __name__ == '__main__':
    main()
