"What is padded, filled, scaled and read beside windows, several of these at once: the same numbers as NumPy has"
import warnings
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from fastai.basics import Learner, MSELossFlat, mae
from tsai.inference import load_learner # also adds `get_X_preds` to learners
from memmap_ts.all import *

rng = np.random.default_rng(0)
LENGTHS = rng.integers(5, 40, 80)
VALUES = rng.gamma(2, [1,10,100], (LENGTHS.sum(),3)).astype('f4')
ENDS = np.cumsum(LENGTHS)
TRAIN,VALID = range(60),range(60, 80)
Y = np.arange(80)%2

def sample(i, values=VALUES): return values[ENDS[i]-LENGTHS[i]:ENDS[i]].T

def mean_std(scale, i):
    "What sample `i` is scaled by, (vars, 1) each"
    steps = VALUES[:ENDS[59]].T if scale=='var' else sample(i)
    if isinstance(scale, tuple): return (o[:,None] for o in scale)
    return steps.mean(1, keepdims=True),steps.std(1, keepdims=True)

@pytest.mark.parametrize('scale', ['var','window',(VALUES.mean(0),VALUES.std(0))], ids=str)
@pytest.mark.parametrize('pad', ['end','start'])
def test_scaled_samples_of_any_length(scale, pad):
    "No padding among the statistics, and padding is 0 after scaling; decoded they are as they were, without padding"
    dls = TSDataLoaders.from_memmap(ragged(VALUES, LENGTHS), Y, (TRAIN,VALID), scale=scale, pad=pad, bs=16, seed=0)
    b = dls.valid.one_batch()
    for k,(x,i) in enumerate(zip(np.asarray(b[0]), VALID)):
        mean,std = mean_std(scale, i)
        n = LENGTHS[i]
        real,padding = (x[:,:n],x[:,n:]) if pad=='end' else (x[:,-n:],x[:,:x.shape[1]-n])
        np.testing.assert_allclose(real, (sample(i)-mean)/std, atol=1e-4)
        assert (padding==0).all()
    np.testing.assert_allclose(dls.valid.decode_batch(b)[3][0], sample(63), rtol=1e-4, atol=1e-3)

@pytest.mark.parametrize('missing', ['mask','zero','mean','ffill'])
def test_gaps_of_samples_of_any_length(missing):
    "Padding is no gap: neither in a channel of the mask nor among the values that are filled"
    gaps = VALUES.copy()
    gaps[rng.random(VALUES.shape)<.1] = np.nan
    gaps[:,0] = VALUES[:,0]
    dls = TSDataLoaders.from_memmap(ragged(gaps, LENGTHS), Y, (TRAIN,VALID), missing=missing, mask=True, bs=16, seed=0)
    x,real = dls.valid.one_batch()[0]
    assert real.sum(1).tolist()==LENGTHS[60:76].tolist()
    for a,m,i in zip(np.asarray(x), np.asarray(real), VALID):
        is_nan = np.isnan(sample(i, gaps))
        assert (a[:,~m]==0).all()
        assert np.array_equal(a[:3,m][~is_nan], sample(i, gaps)[~is_nan]) and np.isfinite(a).all()
        if missing=='mask': assert np.array_equal(a[3:,m], is_nan[1:])

@pytest.mark.parametrize('scale', [None,'window'])
def test_padding_before_a_gap(scale):
    "It is no last value of the sample, and no gap that training had not"
    values = VALUES.copy()
    values[ENDS-LENGTHS,0] = values[::9,0] = np.nan
    kw = dict(splits=(TRAIN,VALID), scale=scale, pad='start', bs=16, seed=0)
    for x,i in zip(np.asarray(TSDataLoaders.from_memmap(ragged(values, LENGTHS), Y, missing='ffill', **kw).valid.one_batch()[0]), VALID):
        fill = np.nanmean(values[:ENDS[59],0], dtype='f8')
        s = pd.Series(sample(i, values)[0].astype('f8'))
        if scale: s,fill = (s-s.mean())/s.std(ddof=0),0
        np.testing.assert_allclose(x[0,-LENGTHS[i]:], s.ffill().fillna(fill), rtol=1e-3, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        TSDataLoaders.from_memmap(ragged(values, LENGTHS), Y, missing='mask', **kw).valid.one_batch()

SERIES = np.cumsum(rng.normal(size=(600,2)), 0).astype('f4')
SERIES[:300] *= 100
SERIES[::17,0] = np.nan
IDS = np.repeat(['a','b'], 300)

@pytest.mark.parametrize('scale', ['var','group','window'])
@pytest.mark.parametrize('missing', ['mask','mean'])
def test_scaled_windows_with_gaps(scale, missing):
    "They come back in their own units, with their gaps as far as a mask tells of them"
    X,y = windows(SERIES, 24, horizon=6, groups=IDS, get_y=[1])
    dls = TSDataLoaders.from_memmap(X, y, scale=scale, missing=missing, bs=16, seed=0)
    b,first = dls.valid.one_batch(),dls.valid.dataset.tls[0].items.idxs[0]
    assert not b[0].isnan().any() and b[0].shape[1]==2+(missing=='mask')
    x,y_ = dls.valid.decode_batch(b)[0]
    want = X[first].copy()
    if missing=='mean': want[np.isnan(want)] = np.asarray(x)[np.isnan(want)]
    np.testing.assert_allclose(x, want, rtol=1e-4, atol=2e-2)
    np.testing.assert_allclose(np.ravel(y_), np.ravel(y[first]), rtol=1e-4, atol=2e-2)

class Sees(nn.Module):
    "Looks at the first of several inputs, and at what is known of the steps to predict"
    def __init__(self): super().__init__(); self.linear = nn.Linear(2*24+6, 6)
    def forward(self, xs):
        x,known,_ = xs
        return self.linear(torch.cat([torch.nan_to_num(x).flatten(1),known.flatten(1)], 1))[:,None]

@pytest.mark.parametrize('scale', [None,'group'])
def test_a_panel_from_loaders_to_an_exported_learner(scale, tmp_path):
    "Statics, what is known and scaled windows in one model; a learner that is loaded predicts the same"
    statics = pd.DataFrame({'kind':['x','y']}, index=['a','b'])['kind']
    (X,K),y = windows(np.nan_to_num(SERIES), 24, horizon=6, groups=IDS, known=[1])
    dls = TSDataLoaders.from_memmap((X,K,X.per_group(statics)), y, scale=scale, bs=16, seed=0)
    learn = Learner(dls, Sees(), loss_func=MSELossFlat(), metrics=unscaled(mae), path=tmp_path)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    preds = learn.get_X_preds((X[:5],K[:5],X[:5].per_group(statics)))[0]
    learn.export(tmp_path/'learner.pkl')
    again = load_learner(tmp_path/'learner.pkl').get_X_preds((X[:5],K[:5],X[:5].per_group(statics)))[0]
    assert preds.shape==(5,1,6) and torch.equal(preds, again)
