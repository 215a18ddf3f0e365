"What fastai and tsai ask of a loader, beyond training"
import sys, types, numpy as np, pandas as pd, pytest, torch
from pathlib import Path
from torch import nn
from fastai.basics import DataBlock, TfmdDL, noop
from fastai.data.block import CategoryBlock
from fastai.data.core import Datasets
from fastai.data.transforms import Categorize, ColReader, IndexSplitter, ItemGetter
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fasttransform import Transform
from tsai.data.core import TSTensor
from tsai.callback.noisy_student import NoisyStudent
from tsai.inference import * # get_X_preds
from tsai.learner import load_all, ts_learner
from memmap_ts.all import *
from memmap_ts.data.tensors import RowsToTSTensor

rng = np.random.default_rng(0)
X,y = rng.random((100,3,20), 'f4'),np.arange(100)%3
X[:,0,0] = np.arange(100)
splits = range(80),range(80,100)

def loaders(**kw): return TSDataLoaders.from_memmap(X, y, splits=splits, **{'bs':8, **kw})
def learner(dls): return Learner(dls, nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4*dls.vars, 3)), loss_func=CrossEntropyLossFlat())
def numbers(dl): return [int(i) for b in dl for i in b[0][:,0,0]]

class Noise(Transform):
    "Of training samples only"
    split_idx = 0
    def encodes(self, o:torch.Tensor): return o+1 if o.ndim==3 else o

def test_tta():
    dls = loaders(batch_tfms=Noise())
    learn = learner(dls)
    with learn.no_bar(): preds,targs = learn.tta(n=2)
    plain = learn.get_preds()[0]
    assert targs.tolist()==y[80:].tolist() and preds.shape==(20,3) and not torch.allclose(preds, plain)
    with learn.no_bar(): assert learn.tta(ds_idx=0, n=1)[1].tolist()==y[:80].tolist() # in order, though training is shuffled

@pytest.mark.parametrize('kw', [dict(weights='balanced'), dict(partial_n=40), dict(sampler=[5,3])], ids=str)
def test_tta_of_all(kw):
    "Each pass sees every sample, once, or their predictions could not be averaged"
    learn = learner(loaders(**kw))
    with learn.no_bar(): assert learn.tta(ds_idx=0, n=1)[1].tolist()==y[:80].tolist()

@pytest.mark.parametrize('what', ['after_item','before_batch','after_batch'])
def test_any_function_for_a_pipeline(what):
    dls = loaders()
    setattr(dls.train, what, noop)
    assert sorted(numbers(dls.train))==list(range(80))

def test_noisy_student():
    dls = loaders()
    learn = ts_learner(dls, 'FCN', cbs=NoisyStudent(loaders().train, verbose=False))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)

@pytest.fixture
def Distributed(monkeypatch):
    "fastai's loader of one of two processes, which are not there, and without Accelerate, which starts them"
    try: import accelerate # noqa: F401
    except ImportError: monkeypatch.setitem(sys.modules, 'accelerate', types.SimpleNamespace(Accelerator=type('Accelerator', (), {})))
    from fastai.distributed import DistributedDL
    class Distributed(DistributedDL):
        def _broadcast(self, t, rank): return [int(i) for i in t]
    return Distributed

@pytest.mark.parametrize('cache', [None,'device'])
def test_distributed(cache, Distributed):
    "Each process gets its part of the samples, as with fastai's own loader"
    dl = loaders(bs=4, cache=cache, dtype='float32').valid
    theirs = TfmdDL(dl.dataset, bs=4)
    for rank in range(2):
        ours = list(Distributed(dl, rank, 2))
        for (a,t),(b,u) in zip(ours, Distributed(theirs, rank, 2), strict=True):
            assert a.equal(b) and t.equal(u) and a.dtype==b.dtype
    assert numbers(Distributed(dl, 1, 2))==list(range(90,100))

def test_distributed_narrow_types(saved, Distributed):
    dl = TSDataLoaders.from_memmap(saved(X.astype('f2')), y, splits=splits, bs=4).valid
    assert next(iter(Distributed(dl, 0, 2)))[0].dtype==torch.float32

def test_saved_with_a_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = ts_learner(loaders(cache='device'), 'FCN')
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    learn.save_all(path='models', verbose=False)
    assert load_all(path='models').get_X_preds(X[:5])[0].shape==(5,3)

def test_cache_of_a_part():
    dls = loaders(n=50, cache='device', drop_last=False, bs=10)
    assert sorted(numbers(dls.train))==list(range(50))
    assert numbers(dls.train.new(shuffle=False))==list(range(80))

def test_cache_moves_with_the_loader():
    "'meta' stands for a device that is not here"
    dls = loaders(cache='device')
    assert numbers(dls.valid)==list(range(80,100))
    dls.to('meta')
    assert dls.valid.cached_batch([0])[0].device.type=='meta'

@pytest.mark.parametrize('sel', [dict(sel_steps=slice(0,20,2)), dict(sel_vars=[0,2]), dict(sel_vars=[2,0], sel_steps=[1,5,7,8])], ids=str)
def test_samples_are_cut_once(sel):
    dls = loaders(**sel)
    learn,sample = learner(dls),dls.valid_ds[3][0]
    assert dls.test_dl([sample]).one_batch()[0][0].equal(sample)
    with learn.no_bar():
        for o in (sample, X[83], TSTensor(X[83])): assert torch.allclose(learn.predict(o)[2], learn.get_preds()[0][3], atol=1e-6)

class Seven(RowsToTSTensor):
    def encodes(self, o): return super().encodes(o)*0+7

def test_a_subclass_has_its_own_way():
    ds = Datasets(itemify(X, y), tfms=[[ItemGetter(0),Seven()],[ItemGetter(1),Categorize()]], splits=[list(splits[0]),list(splits[1])])
    assert (MemmapDL(ds.train, bs=4).one_batch()[0]==7).all()

class Two(Transform):
    def encodes(self, o): return torch.tensor(float(o)),torch.tensor(int(o))

def test_a_transform_that_gives_a_tuple():
    from fastai.data.block import TransformBlock
    d = DataBlock(blocks=(MemmapBlock,TransformBlock(type_tfms=Two())), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1))
    a,b = d.dataloaders((X,y), bs=8, shuffle=False).one_batch()[1]
    assert (a.dtype,b.dtype,a.shape)==(torch.float32,torch.int64,(8,)) and a.long().equal(b)

def test_targets_apart_from_samples():
    with pytest.raises(TypeError, match=r'test_dl\(\(X, y\)'): loaders().test_dl(X, y)

# --- items of a `DataBlock` that are no rows of an array

def by_getters(get_x, get_y, items, **kwargs):
    dblock = DataBlock((MemmapBlock,CategoryBlock), get_x=get_x, get_y=get_y, splitter=IndexSplitter(range(20)))
    return dblock.dataloaders(items, bs=8, **kwargs)

def check_valid(dls, X, y):
    "Rows 0…19, in their order"
    xs,ys = map(torch.cat, zip(*dls.valid))
    np.testing.assert_array_equal(xs, X[:20])
    assert [dls.vocab[k] for k in ys]==y[:20].tolist()

@pytest.mark.parametrize('names', [['row','label'],[1,2]], ids=str)
def test_rows_of_a_table(data, names):
    "A getter gets a row as pandas has it, by the names of its columns"
    X,y = open_memmap(data[0]),np.load(data[1])
    table = pd.DataFrame({names[0]:np.arange(200), names[1]:y}, index=np.arange(200)[::-1])
    dls = by_getters(lambda row: X[int(row[names[0]])], ColReader(names[1]) if names[0]=='row' else lambda row: row[names[1]], table)
    check_valid(dls, X, y)
    np.testing.assert_array_equal(torch.cat([x for x, in dls.test_dl(table[50:60])]), X[50:60])
    check_valid(by_getters(lambda row: X[int(row[names[0]])], lambda row: row[names[1]], table, num_workers=1), X, y)

@pytest.mark.parametrize('kind', [str,Path])
def test_a_file_for_each_sample(data, tmp_path, kind):
    "As fastai has pictures: items are paths, and a getter opens them"
    X,y = np.load(data[0])[:60],np.load(data[1])[:60]
    for i in range(60): np.save(tmp_path/f'{i:02}_{y[i]}.npy', X[i])
    files = [kind(o) for o in sorted(tmp_path.glob('*_*.npy'))]
    def label(fn): return Path(fn).stem[3:]
    check_valid(by_getters(np.load, label, files), X, y)
    check_valid(by_getters(open_memmap, label, files, num_workers=0, prefetch=0), X, y)
    with pytest.raises(TypeError, match='is a path, and one sample is needed'): by_getters(None, label, files)

@pytest.mark.parametrize('name,words', [('input_idxs','`weights=`'), ('split_idxs','dataset.items.idxs'), ('sel_vars','feature_importance')])
def test_what_tsais_loaders_have(name, words):
    "Is answered with what to use in its place"
    dls = loaders()
    for o in (dls,dls.train,dls.valid):
        with pytest.raises(AttributeError, match=f'MemmapDL has no {name}.*{words}'): getattr(o, name)
    assert dls.valid.dataset.items.idxs==range(80,100)

def test_workers_of_a_loader_that_is_there():
    "fastai's attribute of that name says which part of the batches a process has"
    dls = loaders()
    dls.train.num_workers = 2
    with pytest.raises(ValueError, match='pass num_workers=2 where loaders are made'): list(dls.train)
    assert sorted(numbers(dls.train.new(num_workers=2, drop_last=False)))==list(range(80))
