from collections import Counter

import digits as script
import small_datasets
from digits import write_digits
from prepare_scripts import contents, expect, run


def labels(folder, name):
    return dict(line.split() for line in (folder / 'meta' / f'{name}.txt').read_text().splitlines())


def test_split_is_stratified_and_disjoint(digits):
    train, val, test = (labels(digits, split) for split in ('train', 'val', 'test'))
    assert (len(train), len(val), len(test)) == (1000, 297, 500)
    assert len(train.keys() | val.keys() | test.keys()) == 1797
    assert all(97 <= count <= 103 for count in Counter(train.values()).values())
    for k in range(5):
        few, more = labels(digits, f'train_50_{k}'), labels(digits, f'train_100_{k}')
        assert few.items() <= more.items() <= train.items()
        assert set(Counter(few.values()).values()) == {5}


def test_the_same_each_time(digits, tmp_path):
    write_digits(tmp_path / 'again')
    for path in sorted(digits.rglob('*.*')):
        assert path.read_bytes() == (tmp_path / 'again' / path.relative_to(digits)).read_bytes()


def test_written_once_and_only_into_a_folder_of_its_own(tmp_path):
    folder = tmp_path / 'digits'
    with expect('lists are missing: train, val, test'):
        run(script, folder, '--check')
    assert not folder.exists()
    run(script, folder)
    before = contents(folder)
    run(script, folder)
    assert contents(folder) == before
    missing = folder / 'images' / '0' / '0000.png'
    missing.unlink()
    with expect('1 of 1,797 are missing: 0/0000.png'):
        run(script, folder, '--check')
    run(script, folder)
    assert missing.is_file()
    missing.unlink()
    small_datasets.write_files(folder, {'images/holiday.jpg': b'1'})
    with expect('holds something else: images/holiday.jpg', 'a folder of its own'):
        run(script, folder)
    assert (folder / 'images/holiday.jpg').is_file()
    assert not list(tmp_path.glob('*.partial'))
