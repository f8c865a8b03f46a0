"""Text-to-image pipelines as teachers: read as the pipeline itself runs them, only as far as needed."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import tiny_text_pipelines
import torch
from hub_server import hub
from mmcls import load_teacher
from mmcls.models.teachers import TextToImageTeacher
from mmcls.models.teachers import text_to_image as module
from mmcls.models.teachers.reading import as_image_map
from mmpretrain.registry import MODELS
from safetensors.torch import load_file, save_file
from small_distillation import TRAINED, changed_by_a_resumed_step
from support import ROOT

NAMES = [family.__name__ for family in tiny_text_pipelines.FAMILIES]


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('text_to_image')
    return {f.__name__: tiny_text_pipelines.write(f, root / f.__name__) for f in tiny_text_pipelines.FAMILIES}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return tmp_path / 'repfusion/prompts'


class DoneError(Exception):
    pass


def run_by_the_pipeline(name, folder, teacher):
    """x, t and the layer's output in the pipeline's own first step."""
    options = {'text_encoder_3': None, 'tokenizer_3': None} if name == 'sd3' else {}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    network = pipeline.transformer if hasattr(pipeline, 'transformer') else pipeline.unet
    seen = {}

    def before(part, args, kwargs):
        seen.update(dict(zip(inspect.signature(network.forward).parameters, args, strict=False)) | kwargs)

    def after(part, args, output):
        seen['output'] = output
        raise DoneError

    network.register_forward_pre_hook(before, with_kwargs=True)
    network.get_submodule(teacher.layers[0]).register_forward_hook(after)
    x = torch.randn(1, *teacher._input_shape)
    packed = hasattr(pipeline, '_pack_latents')
    call = {
        'prompt': '',
        'height': teacher.sample_size[0],
        'width': teacher.sample_size[1],
        'num_inference_steps': 3,
        'guidance_scale': 1.0,
        'use_resolution_binning': False,
        'complex_human_instruction': None,
        'clean_caption': False,
        'latents': pipeline._pack_latents(x, 1, x.shape[1], *x.shape[2:]) if packed else x,
    }
    if name == 'flux':
        del call['guidance_scale']
    if name == 'schnell':
        call['max_sequence_length'] = 256
    if name == 'sdxl':  # what it tells the network without a prompt
        _, empty, _, pooled = pipeline.encode_prompt('a', device='cpu', num_images_per_prompt=1)
        call |= {'prompt': None, 'prompt_embeds': empty, 'pooled_prompt_embeds': pooled}
    if name == 'kandinsky':
        call |= {'image_embeds': torch.zeros(1, 12), 'negative_image_embeds': torch.zeros(1, 12)}
    known = inspect.signature(pipeline.__call__).parameters
    with pytest.raises(DoneError), torch.no_grad():
        pipeline(**{key: value for key, value in call.items() if key in known})
    if not packed:
        x = seen.get('hidden_states', seen.get('sample'))
    return x, float(pipeline.scheduler.timesteps[0]), seen['output']


@pytest.mark.parametrize('name', NAMES)
def test_features_are_those_of_the_pipelines_own_run(name, folders):
    teacher = TextToImageTeacher(str(folders[name]))
    torch.manual_seed(0)
    x, t, output = run_by_the_pipeline(name, folders[name], teacher)
    with torch.no_grad():
        features = teacher._read_layers(teacher.network, x, torch.tensor([t]))
    expected = teacher.as_map(output, teacher.layers[0], tuple(x.shape[2:]))
    assert expected.std() > 0.01
    assert torch.equal(features[teacher.layers[0]], expected)


@pytest.mark.parametrize('name', NAMES)
def test_every_timestep_is_read_clean_and_noised(name, folders):
    size = 256 if name in ('flux', 'schnell', 'qwen') else None  # else 1,024
    options = {'image_size': (size, size + 32)} if size else {}
    for noise in ('none', 'forward'):
        teacher = TextToImageTeacher(str(folders[name]), noise=noise, **options)
        images = torch.rand(4, 3, *teacher.sample_size) * 2 - 1
        (feature,) = teacher(images, torch.tensor([0, 10, 500, 999])).values()
        assert feature.isfinite().all()
        channels, stride = teacher.feature_info[teacher.layers[0]]
        assert feature.shape == (4, channels, *(side // stride for side in teacher.sample_size))
        assert (feature[0] - feature[3]).abs().mean() > 0  # the timestep is told


@pytest.mark.parametrize('name', ['sdxl', 'sd3', 'flux', 'sana', 'kandinsky', 'qwen', 'lumina2'])
def test_latents_are_what_the_pipeline_hands_its_decoder_back(name, folders, monkeypatch):
    size = 64 if name in ('flux', 'qwen') else None
    teacher = TextToImageTeacher(str(folders[name]), image_size=size)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folders[name])
    pipeline.set_progress_bar_config(disable=True)
    autoencoder = pipeline.movq if name == 'kandinsky' else pipeline.vae
    images = torch.rand(1, 3, *teacher.sample_size) * 2 - 1
    with torch.no_grad():
        latents = teacher.encode(images)
        encoded = autoencoder.encode(images.unsqueeze(2) if name == 'qwen' else images)
    expected = encoded.latent_dist.mode() if 'latent_dist' in encoded else encoded[0]
    seen = {}

    def decode(latents, *args, **kwargs):
        seen['latents'] = latents
        raise DoneError

    packed = teacher._pack
    if packed:
        latents = packed(latents, 1, latents.shape[1], *latents.shape[2:])
    monkeypatch.setattr(autoencoder, 'decode', decode)
    monkeypatch.setattr(pipeline.scheduler, 'step', lambda *args, **kwargs: (latents, latents))
    call = {
        'prompt': 'a',
        'height': teacher.sample_size[0],
        'width': teacher.sample_size[1],
        'num_inference_steps': 2,
        'guidance_scale': 1.0,
        'output_type': 'pt',
        'use_resolution_binning': False,
        'complex_human_instruction': None,
        'image_embeds': torch.zeros(1, 12),
        'negative_image_embeds': torch.zeros(1, 12),
    }
    known = inspect.signature(pipeline.__call__).parameters
    with pytest.raises(DoneError):
        pipeline(**{key: value for key, value in call.items() if key in known})
    assert torch.allclose(seen['latents'].flatten(), expected.flatten(), atol=1e-5)


@pytest.mark.parametrize('name', ['sd3', 'flux', 'sana', 'qwen'])
def test_t_is_a_noise_level_whatever_the_samplers_shift(name, folders):
    size = 64 if name in ('flux', 'qwen') else None
    teacher = TextToImageTeacher(str(folders[name]), image_size=size, noise='forward')
    x, t = torch.randn(4, 4, 8, 8), torch.tensor([0, 10, 500, 990])
    torch.manual_seed(0)
    noised = teacher.diffuse(x, t)
    torch.manual_seed(0)
    sigma = (t / 1000)[:, None, None, None]
    assert torch.allclose(noised, (1 - sigma) * x + sigma * torch.randn_like(x), atol=1e-6)


def test_text_encoders_are_asked_once_and_not_by_all(folders, own_cache, monkeypatch):
    loaded = []
    component = module.PipelineFiles.component
    monkeypatch.setattr(
        module.PipelineFiles, 'component', lambda files, name: loaded.append(name) or component(files, name)
    )
    for _ in range(2):
        TextToImageTeacher(str(folders['pixart']))
    assert loaded == ['vae', 'text_encoder', 'vae']
    assert len(list(own_cache.glob('*.safetensors'))) == 1
    TextToImageTeacher(str(folders['pixart_sigma']))  # the same encoder, other arguments
    assert len(list(own_cache.glob('*.safetensors'))) == 2
    loaded.clear()
    TextToImageTeacher(str(folders['sdxl']))
    TextToImageTeacher(str(folders['sd3']))
    assert loaded == ['vae', 'vae', 'text_encoder', 'text_encoder_2']
    TextToImageTeacher(str(folders['sdxl']), prompt='a')
    assert loaded[4:] == ['vae', 'text_encoder', 'text_encoder_2']


def shard(part: Path) -> None:
    """Divide a transformer's weights, as bfloat16, into two files: blocks 0 and 1, and what comes after."""
    weights = load_file(part / 'diffusion_pytorch_model.safetensors')
    shards = {'first': {}, 'second': {}}
    for name, weight in weights.items():
        late = name.startswith(('transformer_blocks.2', 'transformer_blocks.3', 'proj_out'))
        shards['second' if late else 'first'][name] = weight.bfloat16()
    (part / 'diffusion_pytorch_model.safetensors').unlink()
    for name, tensors in shards.items():
        save_file(tensors, part / f'{name}.safetensors')
    where = {key: f'{name}.safetensors' for name, tensors in shards.items() for key in tensors}
    index = {'metadata': {}, 'weight_map': where}
    (part / 'diffusion_pytorch_model.safetensors.index.json').write_text(json.dumps(index))


def test_only_the_weights_up_to_the_last_layer_are_read(folders, tmp_path):
    folder = tmp_path / 'pixart'
    shutil.copytree(folders['pixart'], folder)
    whole = TextToImageTeacher(str(folder), ['transformer_blocks.3'])
    part = folder / 'transformer'
    shard(part)
    (part / 'second.safetensors').write_bytes(b'not read')
    teacher = TextToImageTeacher(str(folder), ['transformer_blocks.1'])
    assert {p.dtype for p in teacher.network.parameters()} == {torch.bfloat16}  # as stored
    read, of_whole = (sum(p.nbytes for p in each.network.parameters()) for each in (teacher, whole))
    assert read < of_whole / 2
    teacher(torch.rand(1, 3, *teacher.sample_size), torch.tensor([100]))


def test_tokens_of_the_text_are_not_taken_for_the_image():
    image, text = torch.rand(1, 12, 8), torch.rand(1, 7, 8)
    for output in ((text, image), (image, text), (None, image), torch.cat([text, image], 1)):
        assert torch.equal(as_image_map(output, 'block', (3, 4), 7)[0, :, 0, 0], image[0, 0])
    with pytest.raises(ValueError, match=r'the image has 12 tokens, the text 7'):
        as_image_map(text, 'context', (3, 4), 7)
    with pytest.raises(ValueError, match=r'returns .*1, 15, 8.*the image has 12 tokens, the text 15'):
        as_image_map(torch.rand(1, 15, 8), 'context', (3, 4), 15)
    with pytest.raises(ValueError, match=r'as many tokens as the image, 12'):
        as_image_map((torch.rand(1, 12, 8), image), 'block', (3, 4), 12)


def test_code_in_weights_or_index_is_not_run(folders, tmp_path):
    folder = tmp_path / 'pixart'
    shutil.copytree(folders['pixart'], folder)
    mark = tmp_path / 'ran'

    class Bomb:
        def __reduce__(self):
            return Path.touch, (mark,)

    (folder / 'transformer/diffusion_pytorch_model.safetensors').unlink()
    torch.save({'pos_embed.proj.weight': Bomb()}, folder / 'transformer/diffusion_pytorch_model.bin')
    with pytest.raises(ValueError, match='nothing in it was run'):
        TextToImageTeacher(str(folder))
    index = json.loads((folder / 'model_index.json').read_text())
    (folder / 'model_index.json').write_text(json.dumps(index | {'vae': ['antigravity', 'Bomb']}))
    with pytest.raises(ValueError, match=r'asks for antigravity\.Bomb as vae; expected a class of diffusers'):
        TextToImageTeacher(str(folder))
    assert 'antigravity' not in sys.modules
    assert not mark.exists()


def test_sizes_that_make_no_whole_tokens_are_refused(folders):
    with pytest.raises(ValueError, match=r'image_size=\(18, 16\): expected height and width that are multiples of 4'):
        TextToImageTeacher(str(folders['pixart']), image_size=(18, 16))


def test_a_pipeline_without_such_weights_is_refused(folders, tmp_path):
    folder = tmp_path / 'sana'
    shutil.copytree(folders['sana'], folder)
    (folder / 'transformer/diffusion_pytorch_model.safetensors').rename(folder / 'transformer/model.ckpt')
    with pytest.raises(ValueError, match=r'expected diffusion_pytorch_model.safetensors, found .*model\.ckpt'):
        TextToImageTeacher(str(folder))
    (folder / 'model_index.json').write_text('{"_class_name": "StableCascadePriorPipeline"}')
    with pytest.raises(ValueError, match=r'is a StableCascadePriorPipeline; TextToImageTeacher reads Stable'):
        TextToImageTeacher(str(folder))


@pytest.mark.parametrize('name', NAMES)
def test_a_distillation_and_its_resumption(name, folders, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / 'classification_distill')
    teacher = {'type': 'TextToImageTeacher', 'pretrained': str(folders[name]), 'noise': 'forward'}
    if name in ('flux', 'schnell', 'qwen'):  # else 1,024
        teacher['image_size'] = 64

    assert changed_by_a_resumed_step(teacher, digits, tmp_path) >= TRAINED


def test_only_the_files_that_hold_kept_weights_are_fetched(folders, tmp_path, monkeypatch):
    folder = tmp_path / 'pixart'
    shutil.copytree(folders['pixart'], folder)
    shard(folder / 'transformer')
    variables = {'HF_HUB_CACHE': str(tmp_path / 'hub'), 'HF_HUB_OFFLINE': '0'}
    with hub(folder, 'tiny/pixart') as (endpoint, fetched):
        code = (
            'from mmcls.models.teachers import TextToImageTeacher\n'
            'for _ in range(2):\n'
            '    print("reads", TextToImageTeacher("tiny/pixart", ["transformer_blocks.1"]).reads)'
        )
        environment = os.environ | variables | {'HF_ENDPOINT': endpoint, 'HOME': str(tmp_path)}
        command = [sys.executable, '-c', code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    _, first, second = done.stdout.split('reads')
    assert '1 of 2 files of weights; 0.00 GiB are to be fetched' in first
    assert second.strip().endswith('1 of 2 files of weights')
    assert fetched['transformer/first.safetensors'] == 1
    assert fetched['transformer/second.safetensors'] == 0
    assert fetched['text_encoder/model.safetensors'] == 1


@pytest.mark.parametrize(
    ('name', 'count', 'last'),
    [('sdxl', 8, 'up_blocks.1.resnets.1'), ('flux', 7, 'single_transformer_blocks.3'), ('lumina2', 3, 'layers.2')],
)
def test_every_block_can_be_read(name, count, last, folders):
    size = {'image_size': 64} if name == 'flux' else {}
    teacher = load_teacher(folders[name], 'blocks', **size)
    assert isinstance(teacher, TextToImageTeacher)
    assert (len(teacher.layers), teacher.layers[-1]) == (count, last)
    features = teacher.read(torch.rand(2, 3, 32, 32), 100)
    assert all(feature.isfinite().all() for feature in features.values())


@pytest.mark.parametrize('name', NAMES)
def test_weights_stored_in_half_precision_are_read_in_it(name, folders, tmp_path):
    folder = shutil.copytree(folders[name], tmp_path / 'half')
    part = next(path for path in (folder / 'transformer', folder / 'unet') if path.is_dir())
    for path in part.glob('*.safetensors'):
        save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path)
    size = {'image_size': 256} if name in ('flux', 'schnell', 'qwen') else {}  # else 1,024
    exact = TextToImageTeacher(str(folders[name]), **size)
    teacher = TextToImageTeacher(str(folder), dtype='bfloat16', **size)
    images, t = torch.rand(1, 3, *teacher.sample_size) * 2 - 1, torch.tensor([100])
    (found,), (expected,) = teacher(images, t).values(), exact(images, t).values()
    assert next(teacher.network.parameters()).dtype == torch.bfloat16
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.98


def test_what_waits_for_the_device_is_no_cuda_graph(folders):
    waiting = [name for name in NAMES if not TextToImageTeacher(str(folders[name])).can_record]
    assert waiting == ['lumina2']


def test_kept_features_are_of_one_size_of_images_and_one_network(folders):
    def origin(size, **changed):
        model = MODELS.build(
            {
                'type': 'RepFusion',
                'teacher': {'type': 'TextToImageTeacher', 'pretrained': str(folders['pixart']), 'image_size': size},
                'backbone': {
                    'type': 'ResNet_CIFAR',
                    'depth': 18,
                    'base_channels': 4,
                    'stem_channels': 4,
                    'out_indices': (3,),
                },
                'timestep_policy': {'type': 'FixedPolicy'},
                'distill_loss': {'type': 'HintLoss'},
                'data_preprocessor': {'type': 'BatchPreprocessor', 'mean': [127.5] * 3, 'std': [127.5] * 3},
            }
        )
        model.teacher.network.register_to_config(**changed)
        return model.cache_origin()

    origins = [origin(16), origin(32), origin(16, num_attention_heads=1)]
    assert len({repr(each) for each in [*origins, origin(16)]}) == 3
