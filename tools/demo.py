"""RepFusion from nothing, with data that needs no download: bash tools/demo.sh [PART].

Every part trains a small DPM, distils it into students, trains models from the students with few labels, and compares
them with the same models from scratch: at learning rates that validation images choose, and once on test images.
"""

import argparse
import os

import demo_digits
import demo_faces
import demo_report
from jobs import in_order, run_jobs

PARTS = {
    'digits': (demo_digits, demo_digits.QUICK),
    'digits full': (demo_digits, demo_digits.FULL),
    'losses': (demo_digits, demo_digits.LOSSES),
    'rewards': (demo_digits, demo_digits.REWARDS),
    'faces': (demo_faces, demo_faces.QUICK),
    'faces full': (demo_faces, demo_faces.FULL),
}
DEFAULT = 'digits'


def run(name: str) -> None:
    """Run a part and print what came out."""
    domain, settings = PARTS[name]
    domain.prepare_data()
    comparisons = domain.plan(settings)
    for stage in (
        lambda comparison: comparison.tuning,
        lambda comparison: comparison.chosen,
        lambda comparison: comparison.tests.values(),
    ):
        run_jobs(in_order([job for comparison in comparisons for job in stage(comparison)]), os.cpu_count())
    print(demo_report.write(comparisons, domain.WORK_DIR, name.replace(' ', '_')), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='bash tools/demo.sh',
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f'Parts: {", ".join(PARTS)}. Without one: {DEFAULT}.\n'
        'What is finished is not run again; what was interrupted goes on.',
    )
    parser.add_argument('part', nargs='*', metavar='PART', help='one of the parts below')
    name = ' '.join(parser.parse_args().part)
    if name and name not in PARTS:
        parser.error(f'there is no part {name!r}; the parts are {", ".join(PARTS)}.')
    run(name or DEFAULT)


if __name__ == '__main__':
    main()
