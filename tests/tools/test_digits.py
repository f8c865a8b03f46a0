from collections import Counter

from prepare_data.digits import is_complete, write_digits


def labels(folder, name):
    return dict(line.split() for line in (folder / 'meta' / f'{name}.txt').read_text().splitlines())


def test_split_is_stratified_and_disjoint(digits):
    train, test = labels(digits, 'train'), labels(digits, 'test')
    assert (len(train), len(test)) == (1000, 797)
    assert not train.keys() & test.keys()
    assert all(97 <= count <= 103 for count in Counter(train.values()).values())
    for k in range(5):
        few, more = labels(digits, f'train_50_{k}'), labels(digits, f'train_100_{k}')
        assert few.items() <= more.items() <= train.items()
        assert set(Counter(few.values()).values()) == {5}


def test_the_same_each_time(digits, tmp_path):
    write_digits(tmp_path / 'again')
    for path in sorted(digits.rglob('*.*')):
        assert path.read_bytes() == (tmp_path / 'again' / path.relative_to(digits)).read_bytes()


def test_a_missing_image_is_noticed(tmp_path):
    write_digits(tmp_path / 'digits')
    assert is_complete(tmp_path / 'digits')
    next((tmp_path / 'digits' / 'images' / '3').iterdir()).unlink()
    assert not is_complete(tmp_path / 'digits')
