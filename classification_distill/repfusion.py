"""The command ``repfusion``: the commands of ``tools/`` under one name. It imports none of the libraries itself."""

import ast
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

COMMANDS = {
    'train': 'train',
    'test': 'test',
    'distill': 'distill_folder',
    'probe': 'probe',
    'embed': 'embed',
    'neighbours': 'neighbours',
    'classify': 'classify',
    'publish': 'publish_student',
    'report': 'report',
    'transfer': 'transfer',
    'benchmark': 'benchmark',
    'demo': 'demo',
    'convert-guided-diffusion': 'convert_guided_diffusion',
}
#: How pip cannot be told in a package to install these: without their dependencies, which would replace others, and
#: the last from source, as its wheel is compiled against numpy 1.
INSTALLED_BY = {
    'mmcv': 'pip install --no-deps mmcv-lite==2.1.0',
    'mmpose': 'pip install --no-deps mmpose==1.1.0',
    'xtcocotools': 'pip install cython setuptools wheel\n'
    'pip install --no-deps --no-build-isolation --no-binary xtcocotools xtcocotools==1.14.3',
}


def tools() -> Path:
    """The folder of the commands: the repository's, or what setup.py put into the wheel."""
    package = Path(importlib.util.find_spec('mmcls').origin).parent
    return next(folder for folder in (package / '.mim/tools', package.parents[1] / 'tools') if folder.is_dir())


def main() -> None:
    name, *arguments = sys.argv[1:] or ['--help']
    if name == '--version':
        print(f'repfusion {version("repfusion")}')
    elif name in ('-h', '--help'):
        print(_overview())
    elif name not in COMMANDS:
        sys.exit(f'There is no command {name!r}.\n\n{_overview()}')
    else:
        asks = {'-h', '--help'} & set(arguments)
        missing = [command for module, command in INSTALLED_BY.items() if not importlib.util.find_spec(module)]
        if missing and not asks:
            sys.exit('\n'.join(['Something is missing, which these install:', *missing]))
        sys.argv = [f'repfusion {name}', *arguments]
        path = tools() / f'{COMMANDS[name]}.py'
        # runpy would name the file in the usage.
        exec(compile(path.read_text(), path, 'exec'), {'__name__': '__main__', '__file__': str(path)})


def _overview() -> str:
    lines = ['usage: repfusion COMMAND [arguments]; repfusion COMMAND --help', '']
    for name, file in COMMANDS.items():
        text = ast.get_docstring(ast.parse((tools() / f'{file}.py').read_text()))
        lines.append(f'  {name:<26}{text.splitlines()[0]}')
    return '\n'.join([*lines, '', '  --version'])


if __name__ == '__main__':
    main()
