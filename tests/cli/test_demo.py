"The command of the README"
import re
from functools import partial
import shell
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

run = partial(shell.run, 'demo')

def test_real_data(tmp_path):
    r = run('--path', str(tmp_path))
    assert r.returncode==0, r.stderr
    assert 'train_loss' in r.stdout and 'samples/s' in r.stdout and 'array on disk' in r.stdout
    assert float(re.search(r'^accuracy +([\d.]+)%', r.stdout, flags=re.M)[1]) > 95
    assert not list(tmp_path.iterdir())

def test_synthetic(tmp_path):
    r = run('--gb', '0.5', '--path', str(tmp_path))
    assert r.returncode==0, r.stderr
    if isinstance(system, Linux): assert int(re.search(r'\+(-?\d+) MB for the loaders', r.stdout)[1]) < 100
    assert not list(tmp_path.iterdir())

def test_no_room(tmp_path):
    r = run('--gb', '1e6', '--path', str(tmp_path))
    assert r.returncode==1 and 'do not fit' in r.stderr and 'Traceback' not in r.stderr
