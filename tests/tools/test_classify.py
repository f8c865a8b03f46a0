"""From a student and folders of classes to a classifier, by real trainings; and what judges them."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from docs.blocks import read_blocks
from mmcls import classify
from mmcls.apis.classify import _load
from mmcls.apis.jobs import Job
from mmcls.apis.labelled_images import split_images
from mmcls.apis.publish import publish
from mmcls.apis.starts import difference, judge
from mmcls.apis.student import load_student
from mmcls.errors import UnusableInputError
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from publishing import TINY, assert_same, execute, random_backbone, save_checkpoint, training_config
from support import ROOT, door

CLASSES = ('blue', 'green', 'red')
MIXER_ARCH = {'embed_dims': 16, 'num_layers': 1, 'tokens_mlp_dims': 8, 'channels_mlp_dims': 8}
MLP_MIXER = {'type': 'MlpMixer', 'arch': MIXER_ARCH, 'img_size': 32, 'patch_size': 8}


@pytest.fixture(scope='module')
def flowers(tmp_path_factory) -> Path:
    """Images of three colours, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp('flowers')
    rng = np.random.default_rng(0)
    for channel, name in enumerate(reversed(CLASSES)):
        (folder / name).mkdir()
        for index in range(10):
            pixels = rng.integers(0, 120, (36, 40 + index, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f'{index}.png')
    (folder / 'red' / 'broken.jpg').write_bytes(b'no image')
    return folder


@pytest.fixture(scope='module')
def student(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('student') / 'epoch_2.pth'
    preprocessor = {'mean': [120.0, 121.0, 122.0], 'std': [60.0, 61.0, 62.0], 'to_rgb': True}
    save_checkpoint(path, random_backbone(TINY), training_config(TINY, data_preprocessor=preprocessor))
    return path


@pytest.fixture(scope='module')
def done(flowers, student, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('results') / 'out'
    classify(flowers, student, out, iterations=30, rates=[0.001, 0.01], batch_size=16)
    return out


def test_both_starts_are_trained_and_the_better_one_is_kept(done, flowers, capsys, student):
    before = {path: path.stat().st_mtime_ns for path in done.rglob('*') if path.suffix in ('.pth', '.onnx', '.npy')}
    arguments = ['--iterations', 30, '--rates', 0.001, 0.01, '--batch-size', 16]
    door('classify', flowers, '--student', student, '--out', done, *arguments)
    printed = capsys.readouterr().out
    assert '30 images, 3 classes' in printed
    assert 'broken.jpg' in printed
    last = printed.splitlines()[-1]
    number = r'\d+\.\d % \(standard error \d+\.\d\)'
    difference = r'difference [+-]\d+\.\d \(\d+\.\d\)'
    pattern = f'from the student {number}, from scratch {number}, {difference}, on 6 images; kept: from '
    assert re.search(pattern, last), last
    kept = {path: path.stat().st_mtime_ns for path in before if path.name != 'student.pth'}
    assert kept.items() <= before.items()  # nothing was trained or decoded again
    result = json.loads((done / 'result.json').read_text())
    assert result['accuracy'][result['start']] == max(result['accuracy'].values())
    runs = {path.name for path in (done / 'trainings').iterdir()}
    assert runs == {f'{start}_lr{rate}' for start in ('student', 'scratch') for rate in ('0.001', '0.01')}


def test_the_student_starts_from_its_weights_and_scratch_from_the_librarys(done, student):
    expected = load_student(student).backbone.state_dict()
    for name, same in (('classifier.py', True), ('scratch.py', False)):
        config = Config.fromfile(done / name)
        model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor})
        model.init_weights()
        found = model.backbone.state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected) == same
        assert torch.equal(model.data_preprocessor.mean.flatten(), torch.tensor([120.0, 121.0, 122.0]))
        assert model.data_preprocessor.to_rgb


def test_what_is_kept_is_the_better_trainings_weights(done):
    result = json.loads((done / 'result.json').read_text())
    start = result['start']
    job = Job('', str(done / 'classifier.py'), done / 'trainings' / f'{start}_lr{result["rate"][start]:g}')
    kept = torch.load(done / 'classifier.pth')
    assert kept['meta'] == {'dataset_meta': {'classes': list(CLASSES)}}
    assert_same(kept['state_dict'], _load(job)[0].state_dict())


def test_the_classifier_is_used_as_the_page_shows(done, flowers, monkeypatch):
    codes = [block.code for block in read_blocks(ROOT / 'docs/own-images.md') if block.language == 'python']
    in_mmpretrain, in_onnx = (code.replace('work_dirs/flowers', str(done)) for code in codes)
    monkeypatch.chdir(flowers)
    for letter, name in zip('abc', CLASSES, strict=True):
        Path(f'{letter}.jpg').unlink(missing_ok=True)
        Path(f'{letter}.jpg').symlink_to(flowers / name / '0.png')
        predictions = execute(in_mmpretrain.replace("'a.jpg', 'b.jpg'", f"'{letter}.jpg'"))
        expected = predictions['prediction']
        assert expected['pred_class'] in CLASSES
        found = execute(in_onnx.replace("'a.jpg'", f"'{letter}.jpg'"))
        assert found['classes'] == list(CLASSES)
        assert np.abs(found['probabilities'][0] - expected['pred_scores']).max() < 0.05  # the middle is cut otherwise
        Path(f'{letter}.jpg').unlink()


def test_onnx_is_the_classifier(done):
    images = torch.rand(4, 3, 45, 60)
    config = Config.fromfile(done / 'classifier.py')
    model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor}).eval()
    model.load_state_dict(torch.load(done / 'classifier.pth')['state_dict'])
    inputs = model.data_preprocessor({'inputs': (255 * images).flip(1)})['inputs']  # BGR, as OpenCV decodes
    with torch.no_grad():
        expected = model(inputs, mode='tensor').softmax(1).numpy()
    session = onnxruntime.InferenceSession(done / 'classifier.onnx')
    (found,) = session.run(None, {'images': images.numpy()})
    assert np.abs(found - expected).max() < 1e-5


def test_another_call_is_refused(done, flowers, student, tmp_path):
    options = {'iterations': 30, 'rates': [0.001, 0.01], 'batch_size': 16}
    for changed in ({'rates': [0.01]}, {'scratch': False}, {'val_share': 0.5}, {'image_size': 40}):
        with pytest.raises(
            UnusableInputError, match='was written for another student, other arguments or other images'
        ):
            classify(flowers, student, done, **options | changed)
    other = tmp_path / 'epoch_2.pth'
    save_checkpoint(other, random_backbone(TINY), torch.load(student)['meta']['cfg'])
    with pytest.raises(UnusableInputError, match=r'student\.pth was written for another student'):
        classify(flowers, other, done, **options)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'images': 'none'}, 'There is no folder'),
        ({'student': 'none.pth'}, 'There is no file'),
        ({'val': 'none'}, 'There is no folder'),
        ({'out': None}, 'The results would go into the folder of the images'),
        ({'val_share': 1.0}, 'val_share=1.0: expected a share between 0 and 1'),
        ({'rates': []}, 'one positive number or more'),
        ({'iterations': 1}, 'iterations=1: at least 10'),
        ({'batch_size': 1}, 'batch_size=1: at least 2'),
        ({'parallel': 0}, 'parallel=0: at least 1'),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(changed, message, flowers, student, tmp_path):
    arguments = {'images': flowers, 'student': student, 'out': tmp_path / 'out'} | changed
    arguments['out'] = arguments['out'] or flowers
    with pytest.raises((UnusableInputError, FileNotFoundError), match=message):
        classify(**arguments)
    assert not (tmp_path / 'out' / 'classifier.py').exists()


@pytest.mark.parametrize(
    ('gpu', 'parallel', 'expected'), [(True, None, 1), (True, 3, 3), (False, None, 4), (False, 2, 2)]
)
def test_a_gpu_is_one_trainings_unless_more_are_asked_for(
    gpu, parallel, expected, flowers, student, tmp_path, monkeypatch
):
    def stop(jobs, at_a_time):
        assert at_a_time == expected
        raise KeyboardInterrupt

    monkeypatch.setattr('mmcls.apis.classify.run_jobs', stop)
    monkeypatch.setattr('torch.cuda.is_available', lambda: gpu)
    monkeypatch.setattr('os.sched_getaffinity', lambda pid: set(range(4)))
    with pytest.raises(KeyboardInterrupt):
        classify(flowers, student, tmp_path / 'out', parallel=parallel)


@pytest.mark.parametrize('settings', [
    {'type': 'TIMMBackbone', 'model_name': 'resnet10t', 'features_only': True, 'out_indices': [2, 4]},
    {'type': 'TIMMFeatureMaps', 'model_name': 'vit_tiny_patch16_224', 'maps': 2, 'img_size': 32, 'depth': 2},
    MLP_MIXER,
], ids=['maps', 'vit', 'tokens'])  # fmt: skip
def test_every_kind_of_student_becomes_a_classifier(settings, flowers, tmp_path, monkeypatch):
    monkeypatch.setattr('mmcls.apis.classify.run_jobs', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    text = training_config(settings)
    if settings is MLP_MIXER:
        text = text.replace("type='RepFusion')", "type='RepFusion', neck=dict(type='TokenMaps'))")
        assert 'TokenMaps' in text
    save_checkpoint(tmp_path / 'epoch_2.pth', random_backbone(settings), text)
    publish(tmp_path / 'epoch_2.pth', tmp_path / 'student', ['safetensors'])
    with pytest.raises(KeyboardInterrupt):
        classify(flowers, tmp_path / 'student', tmp_path / 'out')
    config = Config.fromfile(tmp_path / 'out/classifier.py')
    model = MODELS.build(config.model | {'data_preprocessor': config.data_preprocessor})
    model.init_weights()
    student = load_student(tmp_path / 'student')
    assert all(
        torch.equal(a, b) for a, b in zip(model.backbone.parameters(), student.backbone.parameters(), strict=True)
    )
    images = torch.rand(2, 3, 32, 32)
    pixels = model.data_preprocessor({'inputs': (255 * images).flip(1)})['inputs']
    with torch.no_grad():
        (found,) = model.eval().extract_feat(pixels)[-1:]
        assert torch.allclose(found, student.features(images), atol=1e-4)
    assert config.train_cfg.max_iters == 600


def make(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new('RGB', (8, 8)).save(folder / name / f'{index}.png')
    return folder


def test_a_share_of_each_class_is_kept(tmp_path):
    folder = make(tmp_path / 'images', a=10, b=2, c=5)
    classes, train, val = split_images(folder, None, 0.2, tmp_path / 'out')
    assert classes == ['a', 'b', 'c']
    assert [sum(entry['gt_label'] == label for entry in val.entries) for label in range(3)] == [2, 1, 1]
    names = [{entry['img_path'] for entry in part.entries} for part in (train, val)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 17
    again = split_images(folder, None, 0.2, tmp_path / 'out')
    assert again == (classes, train, val)
    with pytest.raises(UnusableInputError, match='d holds one image, and a class needs two'):
        split_images(make(folder, d=1), None, 0.2, tmp_path / 'out')


def test_train_and_val_are_found_and_matched_by_name(tmp_path):
    make(tmp_path / 'images/train', a=3, b=1, c=3)
    make(tmp_path / 'images/val', b=1, c=2)
    classes, train, val = split_images(tmp_path / 'images', None, 0.2, tmp_path / 'out')
    assert (classes, len(train.entries)) == (['a', 'b', 'c'], 7)
    assert [entry['gt_label'] for entry in val.entries] == [1, 2, 2]
    other = make(tmp_path / 'other', a=1, z=1)
    with pytest.raises(UnusableInputError, match=r'has classes that .* does not have: z\. There are a, b, c'):
        split_images(tmp_path / 'images', other, 0.2, tmp_path / 'out')


def test_validation_images_are_not_trained_on(tmp_path):
    folder = make(tmp_path / 'flowers', rose=3, tulip=3)
    val = make(folder / 'kept', rose=2, tulip=2)
    with pytest.raises(UnusableInputError, match=r'kept lies in .*flowers, so that its images would be trained on'):
        split_images(folder, val, 0.2, tmp_path / 'out')
    (folder / 'kept').rename(folder / 'val')
    with pytest.raises(
        UnusableInputError, match=r'flowers/val would be a class of its own\. Put the other classes into'
    ):
        split_images(folder, None, 0.2, tmp_path / 'out')


def test_a_rate_is_judged_by_images_that_did_not_choose_it():
    low = torch.tensor([1, 0, 1, 0, 1, 0, 0, 0], dtype=torch.bool)  # better on one half than on the other
    start = judge({0.1: low, 0.2: ~low})
    assert start.accuracy == 12.5  # where the best rate, chosen by all images, would have 62.5
    assert start.by_rate == {0.1: 37.5, 0.2: 62.5}
    good = torch.tensor([1, 1, 1, 0, 1, 1, 1, 1], dtype=torch.bool)
    better = judge({0.1: low, 0.2: good})
    assert better.rate == 0.2
    assert better.accuracy == 87.5
    assert better.error == pytest.approx(100 * (0.875 * 0.125 / 8) ** 0.5)
    mean, error = difference(better, start)
    assert mean == 75
    assert error == pytest.approx(100 * (0.75 * 0.25 / 8) ** 0.5)
