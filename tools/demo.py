"""The demo: bash tools/demo.sh [PART]."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='bash tools/demo.sh',
        description='RepFusion from nothing, with data that needs no download.',
        epilog='What is finished is not run again; what was interrupted goes on.',
    )
    parts = 'digits, digits full, losses, rewards, faces, faces full; by default digits'
    parser.add_argument('part', nargs='*', default=['digits'], help=parts)
    part = ' '.join(parser.parse_args().part)

    from mmcls.demo import demo
    from mmcls.errors import told

    with told():
        print(demo(part), flush=True)


if __name__ == '__main__':
    main()
