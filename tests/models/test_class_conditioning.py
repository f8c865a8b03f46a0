import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from mmcls.engine.dry_run import DryEpochLoop
from mmcls.models.teachers.diffusers_teacher import DiffusersTeacher
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from support import tiny_unet
from timm.data import ImageNetInfo

MIDDLE = 'mid_block.resnets.1.conv2'
WORDNET_IDS = ImageNetInfo('imagenet-1k').label_names()


@pytest.fixture(scope='module')
def conditional_folder(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('conditional')
    DDPMPipeline(tiny_unet(num_class_embeds=1000), DDPMScheduler()).save_pretrained(folder)
    return str(folder)


def told(teacher, t, labels=None) -> torch.Tensor:
    """What the network's class embedding returned."""
    seen = []
    handle = teacher.network.class_embedding.register_forward_hook(lambda module, args, out: seen.append(out.clone()))
    teacher(torch.zeros(len(t), 3, 8, 8), t, labels)
    handle.remove()
    return seen[0]


def test_mean_is_the_default_and_tells_nothing_of_the_label(conditional_folder):
    table = DDPMPipeline.from_pretrained(conditional_folder).unet.class_embedding.weight.detach()
    t = torch.zeros(2, dtype=torch.int64)
    embedding = told(DiffusersTeacher(conditional_folder), t, torch.tensor([1, 2]))
    assert torch.allclose(embedding, table.mean(0).expand(2, -1), atol=1e-6)


def test_one_class_and_random_classes(conditional_folder):
    table = DDPMPipeline.from_pretrained(conditional_folder).unet.class_embedding.weight.detach()
    t = torch.zeros(64, dtype=torch.int64)
    fixed = told(DiffusersTeacher(conditional_folder, class_labels=7), t)
    assert torch.equal(fixed, table[7].expand(64, -1))
    drawn = told(DiffusersTeacher(conditional_folder, class_labels='random'), t)
    classes = torch.cdist(drawn, table).argmin(1)
    assert torch.equal(drawn, table[classes])
    assert len(classes.unique()) > 32


def test_true_labels_go_by_wordnet_id(conditional_folder):
    table = DDPMPipeline.from_pretrained(conditional_folder).unet.class_embedding.weight.detach()
    teacher = DiffusersTeacher(conditional_folder, class_labels='true')
    t, labels = torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match='TeacherClassesHook'):
        teacher(torch.zeros(3, 3, 8, 8), t, labels)
    # The first folders of Tiny-ImageNet: goldfish, European fire salamander, bullfrog.
    teacher.class_conditioning.set_dataset_classes(['n01443537', 'n01629819', 'n01641577'])
    assert torch.equal(told(teacher, t, labels), table[[1, 25, 30]])
    teacher.class_conditioning.set_dataset_classes(IMAGENET_CATEGORIES)
    assert torch.equal(told(teacher, t, labels), table[labels])
    with pytest.raises(ValueError, match=r"WordNet ids of ImageNet-1k, as 'n01443537', not \['cat', 'dog'\]"):
        teacher.class_conditioning.set_dataset_classes(['cat', 'dog'])


def test_timms_list_and_mmpretrains_are_of_one_order():
    info = ImageNetInfo('imagenet-1k')
    described = [info.index_to_description(label).split(',')[0].lower() for label in range(1000)]
    named = [name.split(',')[0].lower() for name in IMAGENET_CATEGORIES]
    assert sum(a == b for a, b in zip(described, named, strict=True)) > 950


@pytest.mark.parametrize('labels', ['middle', -1, 1000, 1.5])
def test_an_unknown_class_is_refused(labels, conditional_folder):
    with pytest.raises(ValueError, match=r"is none of 'mean', 'random', 'true' and 0 to 999"):
        DiffusersTeacher(conditional_folder, class_labels=labels)


def test_a_teacher_without_classes_is_told_none(pipeline_folder):
    with pytest.raises(ValueError, match='not class-conditional'):
        DiffusersTeacher(pipeline_folder, class_labels='true')


@pytest.mark.parametrize('augment', ['Mixup', 'CutMix'])
def test_a_mixed_image_has_no_one_class_to_tell(conditional_folder, augment):
    model = dict(
        type='RepFusion',
        teacher=dict(type='DiffusersTeacher', pretrained=conditional_folder, class_labels='true'),
        backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
        timestep_policy=dict(type='UniformPolicy'),
        distill_loss=dict(type='HintLoss'),
        data_preprocessor=dict(num_classes=2, batch_augments=dict(augments=[dict(type=augment, alpha=1.0)])),
    )
    with pytest.raises(ValueError, match=r"class_labels='true'.*batch_augments"):
        MODELS.build(model)


def folder_of_classes(folder, names):
    """A data set of two images of each class."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(2):
            Image.new('RGB', (8, 8), (90 * index, 50, 200)).save(folder / name / f'{index}.png')
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]
    dataset = {'type': 'CustomDataset', 'data_root': str(folder), 'pipeline': pipeline}
    return {'batch_size': 4, 'dataset': dataset, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}}


def runner_with_true_labels(pretrained, folder, **train_cfg):
    """A Runner whose training, validation and test data are of different classes."""
    return Runner.from_cfg(Config(dict(
        default_scope='mmpretrain',
        work_dir=str(folder / 'work'),
        model=dict(
            type='RepFusion',
            teacher=dict(type='DiffusersTeacher', pretrained=pretrained, class_labels='true'),
            backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3, )),
            timestep_policy=dict(type='UniformPolicy'),
            task_head=dict(type='PooledMLPHead', num_classes=2),
            distill_loss=dict(type='HintLoss')),
        train_dataloader=folder_of_classes(folder / 'train', ['n01629819', 'n01443537']),
        val_dataloader=folder_of_classes(folder / 'val', ['n01484850', 'n01629819']),
        test_dataloader=folder_of_classes(folder / 'test', ['n01484850', 'n01443537']),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type='Accuracy'),
        test_evaluator=dict(type='Accuracy'),
        train_cfg=dict(train_cfg, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='TeacherClassesHook')],
    )))  # fmt: skip


def classes_told(runner):
    """What the teacher will be told, batch by batch."""
    told = []
    embedding = runner.model.teacher.network.class_embedding
    embedding.register_forward_pre_hook(lambda module, args: told.append(args[0].tolist()))
    return told


# Of the classes in the order of their folders' names.
TRAIN, VAL, TEST = [1, 1, 25, 25], [2, 2, 25, 25], [1, 1, 2, 2]


@pytest.mark.parametrize('length', [{'by_epoch': True, 'max_epochs': 2}, {'by_epoch': False, 'max_iters': 2}])
def test_repfusion_trains_with_true_labels_through_the_hook(conditional_folder, tmp_path, length):
    runner = runner_with_true_labels(conditional_folder, tmp_path, **length)
    told = classes_told(runner)
    runner.train()
    runner.test()
    assert told == [TRAIN, VAL, TRAIN, VAL, TEST]


def test_each_view_is_told_the_class_of_the_image_that_it_shows(conditional_folder):
    model = MODELS.build(dict(
        type='RepFusion',
        teacher=dict(type='DiffusersTeacher', pretrained=conditional_folder, class_labels='true'),
        backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, out_indices=(3, )),
        timestep_policy=dict(type='ReinforcePolicy'),
        task_head=dict(type='ViewAgreementHead'),
        distill_loss=dict(type='HintLoss')))  # fmt: skip
    model.teacher.class_conditioning.set_dataset_classes(['n01629819', 'n01443537', 'n01484850'])
    seen = []
    model.teacher.network.class_embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0].tolist()))
    model.loss(255 * torch.rand(3, 3, 8, 8), [DataSample().set_gt_label(label) for label in (0, 1, 2)])
    image, view, next_image = seen
    assert image == view
    assert next_image == [*image[1:], image[0]]
    assert len(set(image)) == 3


def test_a_dry_run_tells_the_validations_classes(conditional_folder, tmp_path):
    runner = runner_with_true_labels(conditional_folder, tmp_path, type=DryEpochLoop, max_epochs=1)
    told = classes_told(runner)
    runner.train()
    assert told[0] == TRAIN
    assert told[-1] == VAL
