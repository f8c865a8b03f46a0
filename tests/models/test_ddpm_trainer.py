from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcls.models.generators.ddpm_trainer import DDPMTrainer
from mmcls.visualization.ddpm import DDPMSampleHook

UNET = {
    'sample_size': 8,
    'block_out_channels': (8, 8),
    'layers_per_block': 1,
    'down_block_types': ('DownBlock2D', 'DownBlock2D'),
    'up_block_types': ('UpBlock2D', 'UpBlock2D'),
    'norm_num_groups': 4,
}


def test_loss_is_the_error_of_the_predicted_noise(monkeypatch):
    model = DDPMTrainer(UNET)
    noise = torch.randn(4, 3, 8, 8)
    monkeypatch.setattr(torch, 'randn_like', lambda images: noise)
    model.unet.forward = lambda noisy, t: type('Output', (), {'sample': noise + 0.5})
    loss = model(torch.randint(256, (4, 3, 8, 8)).float())['loss_noise']
    assert loss.item() == pytest.approx(0.25, rel=1e-5)


def test_samples_are_drawn_without_dropout():
    model = DDPMTrainer(UNET | {'dropout': 0.9}).train()
    pictures = []
    visualizer = SimpleNamespace(add_image=lambda name, picture, step: pictures.append(picture))
    runner = SimpleNamespace(model=model, hooks=[], visualizer=visualizer, epoch=0, iter=1)
    for _ in range(2):
        DDPMSampleHook(interval=1, num_images=4, num_inference_steps=2).after_train_epoch(runner)
    assert np.array_equal(*pictures)
    assert model.unet.training


def test_only_trains():
    with pytest.raises(ValueError, match='only trains'):
        DDPMTrainer(UNET)(torch.zeros(1, 3, 8, 8), mode='predict')


@pytest.mark.parametrize(
    ('unet', 'sentence'),
    [
        ({'sample_size': 9}, 'model.unet.sample_size=9: expected .* multiples of 2'),
        ({'sample_size': (8, 7)}, 'multiples of 2'),
        ({'sample_size': None}, 'sample_size=None: expected'),
    ],
)
def test_sizes_that_its_levels_cannot_halve_are_refused(unet, sentence):
    with pytest.raises(ValueError, match=sentence):
        DDPMTrainer(UNET | unet)


def test_images_of_another_size_than_it_says_are_refused():
    with pytest.raises(ValueError, match=r'The images are 16x16, and model\.unet\.sample_size is \(8, 8\)'):
        DDPMTrainer(UNET)(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize('kind', ['sample', 'v_prediction'])
def test_loss_is_of_what_the_scheduler_takes_the_output_for(kind, monkeypatch):
    model = DDPMTrainer(UNET, {'prediction_type': kind})
    noise, t = torch.randn(4, 3, 8, 8), torch.tensor([0, 10, 500, 999])
    images = torch.randint(256, (4, 3, 8, 8)).float()
    monkeypatch.setattr(torch, 'randn_like', lambda images: noise)
    monkeypatch.setattr(torch, 'randint', lambda *args, **kwargs: t)
    share = model.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
    clean = images / 127.5 - 1
    target = clean if kind == 'sample' else share.sqrt() * noise - (1 - share).sqrt() * clean
    model.unet.forward = lambda noisy, t: type('Output', (), {'sample': target + 0.5})
    assert model(images)['loss_noise'].item() == pytest.approx(0.25, rel=1e-5)
