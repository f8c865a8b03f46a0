import pytest
import torch
from mmcls.weights import PretrainedWeightsError
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

BACKBONE = {'type': 'ResNet_CIFAR', 'depth': 18, 'stem_channels': 4, 'base_channels': 4, 'out_indices': (3,)}
NECK = {'type': 'GlobalAveragePooling'}
HEAD = {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 32}
PREPROCESSOR = {'mean': [120.0, 110.0, 100.0], 'std': [60.0, 50.0, 40.0]}


@pytest.fixture
def teacher(tmp_path):
    """Config and checkpoint of a wider classifier with a normalisation of its own."""
    torch.manual_seed(1)
    wider = {'backbone': BACKBONE | {'base_channels': 8}, 'head': HEAD | {'in_channels': 64}}
    return save(tmp_path, {'type': 'ImageClassifier', 'neck': NECK} | wider)


def save(folder, model):
    """A model's config, as one is written by hand, and checkpoint."""
    classifier = MODELS.build(model)
    classifier.init_weights()
    torch.save({'state_dict': classifier.state_dict()}, folder / 'teacher.pth')
    preprocessor = {'mean': [100.0, 100.0, 100.0], 'std': [10.0, 20.0, 30.0]}
    (folder / 'teacher.py').write_text(f'model = {model}\ndata_preprocessor = {preprocessor}\n')
    return {'config': str(folder / 'teacher.py'), 'checkpoint': str(folder / 'teacher.pth')}


def load(teacher):
    settings = Config.fromfile(teacher['config'])
    classifier = MODELS.build(settings.model | {'data_preprocessor': settings.data_preprocessor}).eval()
    classifier.load_state_dict(torch.load(teacher['checkpoint'])['state_dict'])
    return classifier


def build(teacher, loss='LogitKDLoss', **settings):
    config = {
        'type': 'KDClassifier',
        'teacher': teacher,
        'backbone': BACKBONE,
        'neck': NECK,
        'head': HEAD,
        'distill_loss': {'type': loss},
        'data_preprocessor': PREPROCESSOR,
    }
    return MODELS.build(config | settings)


def batch(size=6):
    inputs = [torch.randint(256, (3, 16, 16), dtype=torch.uint8) for _ in range(size)]
    samples = [DataSample(metainfo={'sample_idx': i}).set_gt_label(i % 5) for i in range(size)]
    return {'inputs': inputs, 'data_samples': samples}


def test_logits_of_the_teacher_in_its_own_normalisation(teacher):
    model, classifier = build(teacher), load(teacher)
    raw = batch()
    data = model.data_preprocessor(raw, training=True)
    losses = model(**data, mode='loss')
    with torch.no_grad():
        expected = classifier(**classifier.data_preprocessor(raw), mode='tensor')
    assert torch.allclose(model.teacher.logits(torch.stack(raw['inputs']).float()), expected, atol=1e-5)
    student = model(data['inputs'])
    assert losses.keys() == {'loss', 'loss_distill_logits'}
    assert losses['loss_distill_logits'].item() == pytest.approx(model.distill_loss(student, expected).item(), rel=1e-4)
    classes = torch.arange(6) % 5
    assert losses['loss'].item() == pytest.approx(torch.nn.functional.cross_entropy(student, classes).item(), rel=1e-4)


def test_maps_of_the_teacher_in_its_own_normalisation(teacher):
    model, classifier = build(teacher, 'HintLoss'), load(teacher)
    raw = batch()
    data = model.data_preprocessor(raw, training=True)
    losses = model(**data, mode='loss')
    with torch.no_grad():
        (expected,) = classifier.extract_feat(classifier.data_preprocessor(raw)['inputs'], stage='backbone')
    (student,) = model.student['backbone'](data['inputs'])
    distance = (model.connectors[0](student, expected.shape) - expected).mean((2, 3)).square().mean()
    assert losses.keys() == {'loss', 'loss_distill_stage0'}
    assert losses['loss_distill_stage0'].item() == pytest.approx(distance.item(), rel=1e-4)


@pytest.mark.parametrize('loss', [
    {'type': 'HintLoss'}, {'type': 'HintLoss', 'pooled': False}, {'type': 'ATLoss'}, {'type': 'RKDLoss'},
    {'type': 'InfoNCELoss'}, {'type': 'CRDLoss', 'num_samples': 10, 'num_negatives': 4},
])  # fmt: skip
def test_every_loss_on_features_trains_the_student_and_not_the_teacher(teacher, loss):
    model = build(teacher, distill_loss=loss)
    before = {key: value.clone() for key, value in model.teacher.held['classifier'].state_dict().items()}
    student = model.student['backbone'].layer4[0].conv1.weight.clone()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    logged = model.train().train_step(batch(), optimizer)
    assert {'loss', 'loss_distill_stage0'} <= set(logged)
    assert torch.isfinite(logged['loss_distill_stage0'])
    assert logged['loss_distill_stage0'] > 0
    assert not torch.equal(student, model.student['backbone'].layer4[0].conv1.weight)
    after = model.teacher.held['classifier'].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(key.startswith('teacher') for key in model.state_dict())
    assert any(key.startswith('student.backbone.layer4') for key in model.state_dict())


def test_the_student_predicts(teacher):
    model = build(teacher).eval()
    data = model.data_preprocessor(batch())
    features = model.student['backbone'](data['inputs'])[0].mean((2, 3))
    expected = model.student['head'].fc(features).softmax(1)
    scores = torch.stack([sample.pred_score for sample in model(**data, mode='predict')])
    assert torch.allclose(scores, expected, atol=1e-6)


def test_a_teacher_that_does_not_load_completely_is_refused(teacher, tmp_path):
    weights = torch.load(teacher['checkpoint'])['state_dict']
    weights.pop('head.fc.bias')
    torch.save({'state_dict': weights}, tmp_path / 'part.pth')
    with pytest.raises(PretrainedWeightsError, match=r'Missing \(1\): head.fc.bias'):
        build(teacher | {'checkpoint': str(tmp_path / 'part.pth')})
    with pytest.raises(PretrainedWeightsError, match=r"model\.teacher\.checkpoint='none.pth' does not exist"):
        build(teacher | {'checkpoint': 'none.pth'})


def test_a_classifier_without_a_backbone_of_mmpretrain_teaches_by_logits_alone(tmp_path):
    teacher = save(tmp_path, {'type': 'TimmClassifier', 'model_name': 'resnet10t', 'num_classes': 5})
    model = build(teacher)
    assert model(**model.data_preprocessor(batch(), training=True), mode='loss')['loss_distill_logits'] > 0
    with pytest.raises(ValueError, match='features of a TimmClassifier cannot be read: compare logits'):
        build(teacher, 'HintLoss')


def test_a_teacher_that_is_no_classifier_is_refused(tmp_path):
    unet = {'sample_size': 8, 'block_out_channels': (8,), 'norm_num_groups': 4}
    unet |= {'down_block_types': ('DownBlock2D',), 'up_block_types': ('UpBlock2D',)}
    teacher = save(tmp_path, {'type': 'DDPMTrainer', 'unet': unet})
    with pytest.raises(ValueError, match=r"teacher\.config='.*teacher\.py' is a DDPMTrainer, expected a classifier"):
        build(teacher)


def test_what_does_not_fit_is_refused(teacher, pipeline_folder):
    with pytest.raises(FileNotFoundError, match=r"no config model\.teacher\.config='none.py'"):
        build(teacher | {'config': 'none.py'})
    with pytest.raises(ValueError, match='7 classes and the teacher 5'):
        build(teacher, head=HEAD | {'num_classes': 7})
    with pytest.raises(ValueError, match='red as blue'):
        build(teacher, data_preprocessor=PREPROCESSOR | {'to_rgb': True})
    with pytest.raises(ValueError, match=r'gives 2 feature\(s\) and the teacher 1'):
        build(teacher, 'HintLoss', backbone=BACKBONE | {'out_indices': (2, 3)})
    diffusion = {'type': 'DiffusersTeacher', 'pretrained': pipeline_folder}
    with pytest.raises(ValueError, match='use KDClassifier'):
        MODELS.build({
            'type': 'RepFusion', 'teacher': diffusion, 'backbone': BACKBONE,
            'timestep_policy': {'type': 'FixedPolicy'}, 'distill_loss': {'type': 'LogitKDLoss'},
        })  # fmt: skip


def test_a_student_with_channels_last_is_refused(teacher):
    swin = {'type': 'TIMMBackbone', 'model_name': 'swin_tiny_patch4_window7_224'}
    mamba = {'type': 'TIMMBackbone', 'model_name': 'mambaout_femto'}
    for backbone, channels in ((swin, 768), (mamba, 288)):
        with pytest.raises(ValueError, match=r"maps are \(N, h, w, C\).*backbone.type='TIMMFeatureMaps'"):
            build(teacher, 'HintLoss', backbone=backbone, head=HEAD | {'in_channels': channels}, image_size=224)
