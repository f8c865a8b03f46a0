import pytest
import small_datasets
from mmcls.engine.preflight import MissingDataError, check_data
from mmcls.engine.stopping import WorkDirInUseError, locked_work_dir
from mmcls.errors import UnusableInputError, told
from mmengine.config import Config
from processes import run_tool
from support import ROOT

SOURCE = {'url': 'https://example.org/faces', 'command': 'python tools/prepare_data/faces.py'}


def message(dataset, split='train', **config):
    with pytest.raises(MissingDataError) as error:
        check_data({f'{split}_dataloader': {'dataset': dataset}, **config}, [split])
    return str(error.value)


def test_a_missing_root_names_field_path_source_and_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = message({'data_root': 'data/faces', 'data_prefix': 'images'}, data_source=SOURCE)
    assert f"train_dataloader.dataset.data_root='data/faces' is not there: {tmp_path / 'data/faces'}\n" in text
    assert 'https://example.org/faces' in text
    assert 'python tools/prepare_data/faces.py' in text
    assert 'data_prefix' not in text  # one line for what is missing altogether


def test_without_a_source_too(tmp_path):
    assert 'Check the paths in the config' in message({'data_root': str(tmp_path / 'none')})


def test_an_empty_folder_is_no_data(tmp_path):
    assert f'data_root={str(tmp_path)!r}' in message({'data_root': str(tmp_path)})


def test_each_split_and_only_those_asked_for(tmp_path):
    config = {f'{split}_dataloader': {'dataset': {'data_root': str(tmp_path / split)}} for split in ('train', 'val')}
    config |= {'test_dataloader': None}
    small_datasets.write_files(tmp_path, {'train/0.png': b'0'})
    check_data(config, ['train', 'test'])
    with pytest.raises(MissingDataError, match=r'val_dataloader\.dataset\.data_root'):
        check_data(config, ['train', 'val'])


@pytest.mark.parametrize(
    ('dataset', 'field'),
    [
        ({'data_prefix': 'img_dir'}, "data_prefix='img_dir'"),
        ({'ann_file': 'train.txt'}, "ann_file='train.txt'"),
        ({'data_prefix': {'img_path': 'images', 'seg_map_path': 'masks'}}, "data_prefix.seg_map_path='masks'"),  # mmseg
        ({'data_prefix': {'img': 'pictures'}, 'ann_file': 'annotations/train.json'}, "data_prefix.img='pictures'"),
        ({'data_prefix': {'img': 'images'}, 'ann_file': 'annotations/val.json'}, "ann_file='annotations/val.json'"),
    ],
)
def test_what_lies_below_the_root(tmp_path, dataset, field):
    small_datasets.write_files(tmp_path, {'images/0.png': b'0', 'annotations/train.json': b'{}'})
    text = message({'data_root': str(tmp_path)} | dataset)
    assert f'train_dataloader.dataset.{field} is not there: {tmp_path}' in text
    assert text.count('is not there') == 1


def test_wrapped_datasets(tmp_path):
    there, gone = {'data_root': str(ROOT)}, {'data_root': str(tmp_path / 'gone')}
    assert 'train_dataloader.dataset.dataset.data_root' in message({'type': 'RepeatDataset', 'dataset': gone})
    concatenated = {'type': 'ConcatDataset', 'datasets': [there, {'type': 'RepeatDataset', 'dataset': gone}]}
    assert 'train_dataloader.dataset.datasets[1].dataset.data_root' in message(concatenated)


def test_folders_that_mmpretrains_classes_know_themselves(tmp_path):
    small_datasets.write_imagenet(tmp_path, classes=1)
    small_datasets.write_cifar10(tmp_path, images=1)
    imagenet = {'type': 'ImageNet', 'data_root': str(tmp_path / 'imagenet'), 'split': 'test'}
    assert f"split='test' is not there: {tmp_path / 'imagenet' / 'test'}" in message(imagenet)
    cifar10 = {'type': 'CIFAR10', 'data_root': str(tmp_path / 'cifar10'), 'split': 'train'}
    for dataset in (imagenet | {'split': 'val'}, cifar10):
        check_data({'train_dataloader': {'dataset': dataset}}, ['train'])
    (tmp_path / 'cifar10' / 'cifar-10-batches-py').rename(tmp_path / 'cifar10' / 'elsewhere')
    assert str(tmp_path / 'cifar10' / 'cifar-10-batches-py') in message(cifar10)


def test_configs_that_name_no_files():
    check_data(Config({'train_dataloader': {'dataset': {'type': 'FakeData'}}}), ['train', 'val'])


def test_the_tools_end_before_the_model_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    (tmp_path / 'model.pth').touch()
    options = [
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        f'data_root={tmp_path / "digits"}',
        'model.type=NotBuilt',
    ]
    for split, *arguments in (('train',), ('test', tmp_path / 'model.pth')):
        config = 'configs/baseline/r18_b64_digits_finetune.py'
        code, output = run_tool(f'{split}.py', config, *arguments, *options)
        assert code == 1
        assert f"{split}_dataloader.dataset.dataset.data_root='{tmp_path / 'digits'}' is not there" in output
        assert 'python tools/prepare_data/digits.py' in output
    assert {path.name for path in tmp_path.glob('run/*')} <= {'train.lock'}  # no log


@pytest.mark.parametrize(
    ('kind', 'text', 'problem'),
    [
        ('mmpretrain.CustomDataset', 'a.png 0\n\nb.png 1\n', "line 2 of .* is '', expected the name of a file"),
        ('mmpretrain.CustomDataset', 'a.png 0\nb.png\n', "line 2 of .* is 'b.png', expected the name of a file"),
        ('mmpretrain.ImageNet', 'a.png 0\nb.png one\n', "line 2 of .* is 'b.png one'"),
        ('mmseg.BaseSegDataset', 'a\n\n', "line 2 of .* is '', expected a name"),
    ],
)
def test_lines_of_lists_are_looked_at(tmp_path, kind, text, problem):
    small_datasets.write_files(tmp_path, {'images/0.png': b'0', 'train.txt': text.encode()})
    dataset = {'type': kind, 'data_root': str(tmp_path), 'data_prefix': 'images', 'ann_file': 'train.txt'}
    with pytest.raises(UnusableInputError, match=rf"train_dataloader\.dataset\.ann_file='train.txt': {problem}"):
        check_data({'train_dataloader': {'dataset': dataset}}, ['train'])
    check_data({'train_dataloader': {'dataset': dataset | {'ann_file': ['one.txt', 'two.txt']}}}, ['train'])
    (tmp_path / 'train.txt').write_text('my picture.png 0\r\nb.png 1\n')
    check_data({'train_dataloader': {'dataset': dataset}}, ['train'])


def test_a_link_to_a_folder_that_it_lies_in_is_named(tmp_path):
    small_datasets.write_files(tmp_path, {'train/cats/0.png': b'0', 'train/dogs/0.png': b'0', 'more/1.png': b'0'})
    dataset = {'type': 'mmpretrain.CustomDataset', 'data_root': str(tmp_path), 'data_prefix': 'train'}
    (tmp_path / 'train/cats/more').symlink_to(tmp_path / 'more')
    check_data({'train_dataloader': {'dataset': dataset}}, ['train'])
    (tmp_path / 'train/cats/all').symlink_to('..')
    with pytest.raises(UnusableInputError, match=r'the link .*/cats/all leads to a folder that it lies in'):
        check_data({'train_dataloader': {'dataset': dataset}}, ['train'])


def test_a_work_directory_that_another_config_has_begun_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_datasets.write_files(tmp_path, {'configs/a/r18.py': b'', 'configs/b/r18.py': b''})

    def hold(config):
        with locked_work_dir('work_dirs/r18', 'none', config):
            pass

    hold('configs/a/r18.py')
    hold('configs/b/r18.py')  # of which the first left nothing
    (tmp_path / 'work_dirs/r18/epoch_1.pth').touch()
    hold(str(tmp_path / 'configs/b/r18.py'))
    with pytest.raises(WorkDirInUseError, match=r'has checkpoints of configs/b/r18.py, and this is configs/a/r18.py'):
        hold('configs/a/r18.py')
    small_datasets.write_files(tmp_path, {'configs/a/longer.py': b'', 'work_dirs/r18/r18.py': b''})
    hold('work_dirs/r18/r18.py')  # what MMEngine has written there
    hold('configs/a/longer.py')  # which was given this work directory on purpose


def test_ctrl_c_ends_a_command_with_a_sentence(capsys):
    with pytest.raises(SystemExit) as end, told():
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == 'Stopped by Ctrl-C. Run the same command again.\n'
    with pytest.raises(SystemExit, match='UnusableInputError: it is so'), told(named=True):
        raise UnusableInputError('it is so')
