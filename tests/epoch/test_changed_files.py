"A file that somebody writes to during a run: rows of two versions are an error, those of a file that was replaced are told of"
import os, warnings, numpy as np, pytest, torch
from fastai.callback.progress import ProgressCallback
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter, RandomSplitter
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn
from tsai.data.preprocessing import TSStandardize
from memmap_ts.all import *
from memmap_ts.io import identity
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='elsewhere the file of an array is not always known')
new = np.full((200,3,20), 7, 'f4')
told = pytest.raises(OSError, match=r'X\.npy was written to since it was opened .* make the loaders again; or pass `changing=True`')

def rewrite(fn, a=new):
    "Save another version over it; the clock of a file system may be too slow for a test"
    np.save(fn, a)
    os.utime(fn, ns=(0,os.stat(fn).st_mtime_ns+10**9))

def whole(dl): return torch.cat([b[0] for b in dl])

@pytest.fixture
def made(data):
    "Loaders of files, after an epoch of each"
    X,y = data
    def _made(**kwargs):
        dls = TSDataLoaders.from_files(X, y, splits=(range(120),range(120,200)), **kwargs)
        for dl in dls.loaders: whole(dl)
        return dls,X
    return _made

@pytest.mark.parametrize('kwargs', [{}, dict(prefetch=0), dict(sel_vars=slice(0,2)), dict(sel_steps=[0,5]), dict(batch_tfms=TSStandardize()),
                                    dict(num_workers=1)], ids=str)
def test_between_epochs(made, kwargs):
    dls,fn = made(**kwargs)
    rewrite(fn)
    for dl in dls.loaders:
        with told: whole(dl)

@pytest.mark.parametrize('seconds,n_more', [(0,0),(1000,6)], ids=['at once','at the end'])
def test_in_an_epoch(made, monkeypatch, seconds, n_more):
    "Now and then, and after the last batch"
    dls,fn = made(bs=10, prefetch=0)
    monkeypatch.setattr(identity.Watch, 'every_seconds', seconds)
    it = iter(dls.valid)
    for _ in range(2): next(it)
    rewrite(fn)
    for _ in range(n_more): next(it)
    with told: next(it)

def test_left_early(made):
    "Who leaves an epoch is told at the next one"
    dls,fn = made()
    it = iter(dls.train)
    next(it)
    rewrite(fn)
    it.close()
    with told: whole(dls.train)

def test_new_loaders(made):
    dls,fn = made()
    rewrite(fn)
    dls = TSDataLoaders.from_files(fn, splits=(range(120),range(120,200)))
    assert (whole(dls.valid)==7).all()

@pytest.mark.parametrize('kwargs', [{}, dict(num_workers=1)], ids=str)
def test_as_the_user_wishes(made, kwargs):
    "`changing=True` holds for loaders made of it, too"
    dls,fn = made(changing=True, **kwargs)
    rewrite(fn)
    for dl in (dls.train, dls.valid, dls.valid.new(), dls.test_dl(open_memmap(fn)), dls.train.new(shuffle=False)):
        assert dl.changing and (whole(dl)==7).all()
    with pytest.raises(TypeError, match='changin'): TSDataLoaders.from_files(fn, changin=True)

def test_written_by_this_process(data):
    "An array that is open to write: its own loaders, and others of the same file"
    X,y = data
    a = open_memmap(X, 'r+')
    for x in (a, X):
        dls = TSDataLoaders.from_memmap(x, y, splits=(range(120),range(120,200)))
        whole(dls.train)
        a[:] = np.random.default_rng().normal(size=a.shape)
        os.utime(X)
        np.testing.assert_array_equal(whole(dls.valid), a[120:])
    del a,x
    rewrite(X)
    whole(dls.valid) # it has been ours

def test_nothing_was_written(made):
    "To read, to link, to keep statistics beside it is not to write"
    dls,fn = made(batch_tfms=TSStandardize(by_var=True))
    os.utime(fn, ns=(10**18,os.stat(fn).st_mtime_ns))
    os.chmod(fn, 0o600)
    os.link(fn, fn.with_name('link'))
    memmap_stats(fn)
    whole(dls.train)

def test_predictions_and_test_samples(made, tmp_path):
    dls,fn = made()
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(60,3)), loss_func=CrossEntropyLossFlat(), path=tmp_path)
    dl = dls.test_dl(open_memmap(fn))
    learn.remove_cb(ProgressCallback)
    learn.get_preds(dl=dl)
    rewrite(fn)
    for f in (lambda: learn.get_preds(dl=dl), learn.get_preds, learn.validate, lambda: learn.fit(1)):
        with told: f()

def test_windows(saved):
    a = np.zeros((1000,3), 'f4')
    fn = saved(a)
    dls = TSDataLoaders.from_memmap(*windows(fn, 20, horizon=1))
    whole(dls.train)
    rewrite(fn, a+1)
    with told: whole(dls.train)

def test_data_block(data):
    X,y = data
    block = DataBlock([MemmapBlock(),CategoryBlock()], get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=RandomSplitter())
    some,fine = block.dataloaders(itemify(X, y)),block.dataloaders(itemify(X, y), changing=True)
    for dls in (some,fine): whole(dls.train)
    rewrite(X)
    with told: whole(some.train)
    whole(fine.train)

def test_statistics_and_copies(saved, tmp_path, monkeypatch):
    "While one pass goes over the file"
    from memmap_ts.summary.blocks import BlockReader
    fn,read = saved(new),BlockReader.read
    def meanwhile(self, block):
        res = read(self, block).copy()
        rewrite(fn)
        return res
    monkeypatch.setattr(BlockReader, 'read', meanwhile)
    with told: memmap_stats(fn)
    def chunks():
        a = open_memmap(fn)
        yield a[:100]
        rewrite(fn)
        yield a[100:]
    a = open_memmap(fn)
    write = MemmapWriter.append
    monkeypatch.setattr(MemmapWriter, 'append', lambda self, *args, **kwargs: (write(self, *args, **kwargs), rewrite(fn))[0])
    with told: to_memmap(a, tmp_path/'Z.npy', chunk_rows=100, progress=False)
    assert not (tmp_path/'Z.npy').exists()

@pytest.mark.parametrize('how', ['to_memmap','renamed','removed first'])
@pytest.mark.parametrize('begun', [True,False], ids=['after an epoch','before'])
def test_replaced(data, how, begun):
    "The rows are those of the old file, all of them; it is said once"
    X,y = data
    before = np.load(X)
    dls = TSDataLoaders.from_memmap(open_memmap(X), y, splits=(range(120),range(120,200)))
    if begun: whole(dls.train)
    if how=='to_memmap': to_memmap(new, X, overwrite=True, progress=False)
    if how=='removed first': X.unlink()
    if how!='to_memmap':
        np.save(X.with_name('new.npy'), new)
        os.rename(X.with_name('new.npy'), X)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        for _ in range(2):
            for dl in dls.loaders: whole(dl)
        np.testing.assert_array_equal(whole(dls.valid), before[120:])
    said = [w for w in said if 'is another file now' in str(w.message)]
    assert len(said)==1 and said[0].category is RuntimeWarning and str(X) in str(said[0].message)

def test_removed(made):
    "Without a new one, there is nothing to say"
    dls,fn = made()
    fn.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        whole(dls.train)
