"What tests of writing share"
import os, subprocess, sys, textwrap, numpy as np, pytest
from memmap_ts.store import on_disk
from memmap_ts.write import to_memmap

posix = pytest.mark.skipif(os.name!='posix', reason='needs POSIX signals')
rng = np.random.default_rng(0)
X = rng.normal(size=(103,3,7)).astype('float32')
labels = np.array(['cat','dog','caterpillar'])[np.arange(103)%3]

def names(path):
    "What is in folder `path`"
    return sorted(p.name for p in path.iterdir())

def need(name):
    "Module `name`, which may not be installed"
    return pytest.importorskip(name, reason=f'{name} is optional, and not installed')

def to(src, path, fn='out.npy', **kwargs):
    "`to_memmap` to a file in folder `path`"
    return to_memmap(src, path/fn, progress=False, **kwargs)

def same(got, a):
    "Is `got` an array on disk, read only, equal to `a`?"
    a = np.asarray(a)
    assert on_disk(got) and got.mode=='r' and got.dtype==a.dtype
    np.testing.assert_array_equal(got, a)

def python(code, *args, **kwargs):
    "A process that runs `code`, from the start of Python on; `forked` is quicker"
    command = [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)
