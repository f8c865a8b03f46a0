"""The best checkpoint is never lost, and what a killed run left does not hinder the next."""

import pytest
from mmcls.engine.checkpoints import AtomicBackend, SafeCheckpointHook
from small_runner import small_runner


def best_of(folder):
    return sorted(path.name for path in folder.glob('best_*.pth'))


def run(work_dir, scores, **settings):
    hook = {'type': 'SafeCheckpointHook', 'interval': 1, 'rule': 'greater', **settings}
    small_runner(work_dir, epochs=len(scores), scores=scores, default_hooks={'checkpoint': hook}).train()


def test_the_best_replaces_the_best_before_it(tmp_path):
    run(tmp_path, [{'top1': 1}, {'top1': 3}, {'top1': 2}], save_best='top1')
    assert best_of(tmp_path) == ['best_top1_epoch_2.pth']


def test_each_of_several_metrics_has_its_best(tmp_path):
    scores = [{'a': 1, 'b': 5}, {'a': 2, 'b': 4}, {'a': 1, 'b': 6}]
    run(tmp_path, scores, save_best=['a', 'b'], rule=['greater', 'greater'])
    assert best_of(tmp_path) == ['best_a_epoch_2.pth', 'best_b_epoch_3.pth']


def test_a_best_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    put = AtomicBackend.put

    def full(self, obj, path):
        if 'best_top1_epoch_2' in str(path):
            raise OSError('No space left on device')
        put(self, obj, path)

    monkeypatch.setattr(AtomicBackend, 'put', full)
    with pytest.raises(OSError, match='No space left'):
        run(tmp_path, [{'top1': 1}, {'top1': 3}], save_best='top1')
    assert best_of(tmp_path) == ['best_top1_epoch_1.pth']


@pytest.mark.parametrize('is_folder', [True, False])
def test_what_a_killed_save_left_is_cleared_away(tmp_path, is_folder):
    left = tmp_path / 'pipeline.partial'
    if is_folder:
        (left / 'unet').mkdir(parents=True)
    else:
        left.touch()
    run(tmp_path, [{'top1': 1}])
    assert not left.exists()
    assert (tmp_path / 'epoch_1.pth').is_file()


def test_further_arguments_reach_the_runner(tmp_path, monkeypatch):
    seen = []
    runner = small_runner(tmp_path, epochs=1)
    runner.train()
    hook = SafeCheckpointHook(interval=1, something='else')
    hook.before_train(runner)
    monkeypatch.setattr(runner, 'save_checkpoint', lambda *args, **kwargs: seen.append(kwargs))
    hook._save_checkpoint_with_step(runner, 1, {})
    assert seen[0]['something'] == 'else'
