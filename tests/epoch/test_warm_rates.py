"""Rows that are in memory come as fast as from a tensor in RAM, though they lie in a file

`MEMMAP_TS_LONG=1 pytest -s tests/epoch/test_warm_rates.py` prints how our rates compare with others: medians of five
pairs, measured in turns. Rates are rows for each second of this process's own time, on one thread, so that others on
the machine hardly count."""
import time, warnings
from itertools import count
import numpy as np, pytest, torch
from fastai.data.core import TfmdDL
from harness import long_or
from memmap_ts.all import *

pytestmark = [pytest.mark.alone,
              pytest.mark.skipif(not long_or(0, 1), reason='MEMMAP_TS_LONG=1 pytest -s … prints how fast warm epochs are')]

class TensorsDL(TfmdDL):
    "fastai's loop around tensors in RAM: a batch is one index into each"
    def __init__(self, *tensors, bs):
        self.tensors = tensors
        super().__init__([0], bs=bs, shuffle=True, num_workers=0, do_setup=False)
    def get_idxs(self): return torch.randperm(len(self.tensors[0]))
    def sample(self): return self._DataLoader__idxs.split(self.bs)
    def create_batches(self, samps): return (tuple(t[idxs] for t in self.tensors) for idxs in samps)

def bare(*tensors, bs):
    "The least a loop can do"
    for idxs in torch.randperm(len(tensors[0])).split(bs): yield [t[idxs] for t in tensors]

def rate(epoch, seconds):
    "Rows of epochs, for each second of this process's own time"
    n,start = 0,time.process_time()
    for _ in count():
        for b in epoch(): n += len(b[0])
        took = time.process_time()-start
        if took>seconds: return n/took

def ratios(title, ours, others, seconds=.3):
    "For each of `others` the median of five ratios; prints them with the least and the most"
    found = {name: [] for name in others}
    for epoch in (ours,*others.values()): rate(epoch, seconds/3)
    for _ in range(5):
        for name,epoch in others.items(): found[name].append(rate(ours, seconds)/rate(epoch, seconds))
    for name,some in found.items(): print(f'\n{title}: {np.median(some):.2f} ({min(some):.2f}-{max(some):.2f}) of {name}', end='')
    return {name: float(np.median(some)) for name,some in found.items()}

@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

@pytest.fixture
def make(saved, one_thread):
    "Makes X of so many rows of a shape, and seven classes: on disk, and the same as tensors"
    def make(n, *shape):
        rng = np.random.default_rng(0)
        X,y = rng.standard_normal((n,*shape), dtype='f4'),rng.integers(0, 7, n)
        files = open_memmap(saved(X)),open_memmap(saved(y, 'y.npy'))
        return files,(torch.from_numpy(X),torch.from_numpy(y))
    return make

def loader(*files, bs):
    "Our loader of all rows, shuffled; its first epochs, which look for NaNs, are over"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        dl = TSDataLoaders.from_memmap(*files, splits=(range(len(files[0])),), bs=bs).train
    for _ in dl: pass
    return lambda: dl

def beside(title, files, tensors, bs, **others):
    "Our epochs beside those of tensors in RAM"
    ram = TensorsDL(*tensors, bs=bs)
    others = {'a tensor in RAM in a TfmdDL': lambda: ram, 'the bare tensor': lambda: bare(*tensors, bs=bs), **others}
    return list(ratios(title, loader(*files, bs=bs), others).values())

def test_rows_of_400_bytes(make):
    "With their labels, which a tensor has as numbers already"
    from tsai.data.core import TSClassification, get_ts_dls
    files,tensors = make(200_000, 1, 100)
    X,y = files
    tsais = get_ts_dls(X, np.array(y), tfms=[None,TSClassification()], splits=(np.arange(len(X)),[]), inplace=False,
                       bs=1024).train
    in_ram,of_bare,of_tsai = beside('400 B, bs 1024, labels', files, tensors, 1024, tsai=lambda: tsais)
    assert in_ram>=.9 and of_tsai>=3

def test_rows_of_4_kilobytes(make):
    files,tensors = make(50_000, 1, 1024)
    beside('4 kB, bs 64, labels', files, tensors, 64)
    in_ram,of_bare = beside('4 kB, bs 64', files[:1], tensors[:1], 64)
    assert in_ram>=.8 and of_bare>=.6

def test_rows_of_41_kilobytes(make):
    files,tensors = make(8_000, 10, 1024)
    beside('41 kB, bs 64, labels', files, tensors, 64)
    in_ram,of_bare = beside('41 kB, bs 64', files[:1], tensors[:1], 64)
    assert in_ram>=1 and of_bare>=1

def test_a_batch_of_items(make):
    "64 rows of 100 kB, beside views of them that NumPy puts together"
    (X,_),_ = make(3_000, 50, 512)
    items,rng = itemify(X),np.random.default_rng(0)
    def some(): return rng.integers(0, len(X), (16,64))
    def ours(): return (items.batch(idxs) for idxs in some())
    def stacked(rows): return lambda: ([np.stack([rows[i] for i in idxs.tolist()])] for idxs in some())
    found = ratios('Items.batch of 64 rows of 100 kB', ours,
                   {'np.stack of rows of the memmap': stacked(X), 'np.stack of its items': stacked([o for o, in items])})
    assert min(found.values())>=1
