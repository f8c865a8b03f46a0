"""How the code is laid out: floors that import only downwards, doors that only parse and call, one safe reader."""

import ast
from functools import cache
from pathlib import Path

import pytest
from support import ROOT

PACKAGE = ROOT / 'classification_distill' / 'mmcls'
DOORS = sorted((ROOT / 'tools').glob('*.py'))
FLOORS = [
    {'errors', 'files', 'weights', 'module_pickles', 'configs', 'cfg_options', 'progress', 'quiet'},
    {'datasets'},
    {'models', 'evaluation'},
    {'engine', 'visualization'},
    {'apis', 'benchmark', 'demo'},
]
DOOR_LINES = 45


@cache
def modules(folder: Path) -> dict[str, ast.Module]:
    return {str(path.relative_to(folder)): ast.parse(path.read_text()) for path in sorted(folder.rglob('*.py'))}


def imported_rooms(path: str, tree: ast.Module) -> set[str]:
    """The parts of the package that a module of it imports, wherever in it."""
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = path.removesuffix('.py').split('/')[: -node.level]
            target = [*package, *(node.module or '').split('.')] if node.module else package
            rooms |= {target[0]} if target and target[0] else {alias.name for alias in node.names}
    return rooms


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize('path', [path for path in modules(PACKAGE) if path != '__init__.py'])
def test_no_arrow_goes_up(path):
    room = path.partition('/')[0].removesuffix('.py')
    rooms = imported_rooms(path, modules(PACKAGE)[path])
    assert max((floor_of(other) for other in rooms), default=0) <= floor_of(room), rooms


@pytest.mark.parametrize('door', DOORS, ids=lambda path: path.name)
def test_a_door_is_short_and_imports_nothing_heavy_before_it_has_parsed(door):
    text = door.read_text()
    assert len(text.splitlines()) <= DOOR_LINES
    light = {'argparse', 'gc', 'sys', 'pathlib', 'mmengine.config'}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert set(names) <= light


@pytest.mark.parametrize('folder', [ROOT / 'tools', ROOT / 'tests'], ids=lambda path: path.name)
def test_no_module_is_found_by_a_changed_path(folder):
    changed = [
        path
        for path, tree in modules(folder).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == 'sys.path'
    ]
    assert not changed


def test_below_the_doors_nothing_takes_a_command_line_or_ends_the_process():
    found = {}
    for path, tree in modules(PACKAGE).items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if bad := names & {'SystemExit', 'argparse', 'ArgumentParser'}:
            found[path] = bad
    # A run that was asked to stop says so by its exit code; a checkpoint may keep the arguments of its training.
    assert found == {'engine/stopping.py': {'SystemExit'}, 'weights.py': {'argparse'}}


UNPICKLERS = ('torch.load', 'pickle.load', 'pickle.loads', 'pickle.Unpickler')


def test_two_files_unpickle():
    found = [
        path
        for path, tree in modules(PACKAGE).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in UNPICKLERS
    ]
    # Checkpoints, and what may stand in them; and modules that were pickled with their source.
    assert set(found) == {'weights.py', 'module_pickles.py'}
