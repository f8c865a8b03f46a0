"""The part of the build that pyproject.toml cannot say: a wheel has the trees' configs and the commands in it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
TREES = ('classification_distill', 'segmentation', 'landmark')


class BuildWithTrees(build_py):
    """Copies them into ``mmcls/.mim``, where OpenMMLab's packages have theirs; not into an editable installation."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        carried = Path(self.build_lib) / 'mmcls' / '.mim'
        # A wheel has no links: each tree gets the commands themselves.
        copies = {'tools': 'tools'} | {f'{tree}/tools': 'tools' for tree in TREES}
        copies |= {f'{tree}/configs': f'{tree}/configs' for tree in TREES}
        for target, source in copies.items():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / source, carried / target, dirs_exist_ok=True, ignore=ignored)


setup(cmdclass={'build_py': BuildWithTrees})
