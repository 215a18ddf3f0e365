"`missing=`: what the model gets in place of NaN, against NumPy"
import warnings, matplotlib.pyplot as plt, numpy as np, pytest, torch
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from fastai.basics import Learner, nn
from fastai.learner import load_learner
from tsai.data.core import TSTensor
from tsai.data.preprocessing import (TSClipOutliers, TSMissingness, TSNan2Value, TSNormalize, TSRobustScale,
                                     TSSelfMissingness, TSStandardize)
from memmap_ts.all import *

y,splits = np.arange(60)%3,(range(40),range(40,60))
kinds = 'mask','zero','mean','ffill'

def with_gaps(dtype='f4'):
    "X of (60,3,20): variable 0 has gaps of all kinds in all rows, 1 has none, 2 has some in training rows"
    rng = np.random.default_rng(0)
    X = rng.normal([[5],[0],[-20]], [[2],[1],[4]], (60,3,20)).astype(dtype)
    X[:,0][rng.random((60,20))<.3] = np.nan
    X[3,0] = X[41,0] = X[5,2,:4] = X[45,2,15:] = np.nan
    return X

def by_numpy(X, kind):
    "The batch that the model is to get, value by value"
    res,means = X.astype('f8'),np.nanmean(X[:40].astype('f8'), (0,2))
    for i,v,s in np.argwhere(np.isnan(X)):
        if kind in ('zero','mask'): res[i,v,s] = 0
        elif kind=='mean' or s==0: res[i,v,s] = means[v]
        else: res[i,v,s] = res[i,v,s-1]
    return np.concatenate([res, np.isnan(X[:,[0,2]])], 1) if kind=='mask' else res

def batches(dls, n=1):
    "Inputs of all samples in order, none of them NaN, without a warning"
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        res = [torch.cat([b[0] for b in dl]) for dl in (dls.train,dls.valid) for _ in range(n)]
    assert all(x.isfinite().all() for x in res)
    return np.concatenate([x.numpy() for x in res])

def loaders(X, missing, **kw):
    kw = dict(splits=splits, bs=8, shuffle=False)|kw
    return TSDataLoaders.from_memmap(X, y, missing=missing, **kw)

@pytest.mark.parametrize('dtype', ['float32','float16','float64'])
@pytest.mark.parametrize('kind', kinds)
def test_as_numpy(kind, dtype, saved):
    X = with_gaps(dtype)
    dls = loaders(saved(X), kind, dtype=dtype)
    got = batches(dls)
    assert got.dtype==dtype and dls.vars==got.shape[1]==(5 if kind=='mask' else 3)
    close(got, by_numpy(X, kind), rtol=1e-3 if dtype=='float16' else 1e-6)
    equal(got[:,:3][~np.isnan(X)], X[~np.isnan(X)])

@pytest.mark.parametrize('kw', [dict(cache='device'), dict(num_workers=1), dict(sel_vars=[2,0], sel_steps=slice(3,12)), dict(sel_steps=[7,2,3])], ids=str)
def test_however_they_are_loaded(kw):
    X = with_gaps()
    cut = X[:,kw.get('sel_vars', slice(None))][...,kw.get('sel_steps', slice(None))]
    if 'sel_vars' in kw: expected = by_numpy(np.insert(cut, 1, 0, axis=1), 'ffill')[:,[0,2]]
    else: expected = by_numpy(cut, 'ffill')
    close(batches(loaders(X, 'ffill', **kw)), expected, rtol=1e-6)

@pytest.mark.parametrize('tfm', [TSStandardize(by_var=True), TSStandardize(), TSNormalize(by_var=True), TSRobustScale()], ids=str)
def test_with_scaling(tfm):
    "Statistics are of the values there are; zero is that of the model, the mean that of the file"
    X = with_gaps()
    scaled = {k: batches(loaders(X, k, batch_tfms=tfm)) for k in kinds}
    t, = loaders(X, None, batch_tfms=[tfm,TSNan2Value()]).train.after_batch.fs[:1]
    full = t(torch.as_tensor(by_numpy(X, 'mean')).float().as_subclass(TSTensor)).numpy()
    gaps = np.isnan(X)
    close(scaled['mean'], full, atol=1e-5)
    close(scaled['zero'], np.where(gaps, 0, full), atol=1e-5)
    equal(scaled['mask'], np.concatenate([scaled['zero'],gaps[:,[0,2]]], 1))
    close(scaled['ffill'][~gaps], full[~gaps], atol=1e-5)
    if tfm.__class__ is TSStandardize and tfm.by_var: close(scaled['mean'][gaps], 0, atol=1e-5)

@pytest.mark.parametrize('tfms', [None, TSStandardize(by_var=True), TSNormalize(by_var=True), TSRobustScale(), TSClipOutliers(by_var=True)], ids=str)
def test_a_variable_of_nothing_else(tfms):
    X = with_gaps()
    X[:,1] = np.nan
    for kind in kinds:
        x = batches(loaders(X, kind, batch_tfms=tfms))
        if kind!='mask': assert (x[:,1]==x[0,1,0]).all()
        else: assert x.shape[1]==6 and (x[:,4]==1).all()

@pytest.mark.parametrize('kind', kinds)
def test_integers_have_none(kind, saved):
    dls = loaders(saved(np.arange(3600, dtype='i2').reshape(60,3,20)), kind)
    assert dls.vars==3 and not len(dls.train.after_batch.fs) and batches(dls).dtype==np.float32

def test_several_inputs():
    "Each has its own gaps; targets are left alone"
    X,features,counts = with_gaps(),np.ones((60,4), 'f4'),np.ones((60,2,7), 'i4')
    features[::2,3] = np.nan
    features[1::2,3] = 7
    targets = np.arange(60.)
    dls = TSDataLoaders.from_memmap((X,features,counts,X[:,2]), targets, splits=splits, bs=20, shuffle=False, missing='mask')
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        xs,t = dls.train.one_batch()
    assert [tuple(x.shape) for x in xs]==[(20,5,20),(20,5),(20,2,7),(20,24)]
    equal(t, targets[:20])
    equal(xs[1][:,3:], np.array([[0,1],[7,0]]*10))
    assert all(x.isfinite().all() for x in xs) and dls.vars==5
    dls = TSDataLoaders.from_memmap((X,features), targets, splits=splits, bs=20, shuffle=False, missing='ffill')
    equal(dls.train.one_batch()[0][1][:,3], np.full(20, 7))

def test_windows(saved):
    "Gaps of a series, of which windows see their steps only"
    series = with_gaps().transpose(0,2,1).reshape(-1,3)
    W,t = windows(saved(series), 20, horizon=1, stride=20, get_y=1)
    dls = TSDataLoaders.from_memmap(W, t, splits=(range(40),range(40,59)), bs=8, shuffle=False, missing='ffill')
    close(batches(dls), by_numpy(with_gaps(), 'ffill')[:59], rtol=1e-6)

def test_gaps_of_validation_only():
    "They get no channel, and that is told once"
    X = np.ones((60,2,20), 'f4')
    X[:,0,3] = X[55:,1,4] = np.nan
    dls = loaders(X, 'mask')
    with warnings.catch_warnings(record=True) as ws:
        warnings.simplefilter('always')
        shapes = {tuple(b[0].shape[1:]) for dl in (dls.train,dls.valid) for _ in range(2) for b in dl if b[0].isfinite().all()}
    told, = [str(o.message) for o in ws if 'NaN' in str(o.message)]
    assert shapes=={(3,20)} and 'NaN in variable 1 here' in told
    assert batches(loaders(X, 'ffill')).shape==(60,2,20)

def test_functions():
    X = with_gaps()
    close(batches(loaders(X, lambda x: x.nan_to_num(-1.))), np.nan_to_num(X, nan=-1))
    got = batches(loaders(X, TSNan2Value(value=3.), batch_tfms=TSStandardize(by_var=True)))
    equal(got[np.isnan(X)], np.full(np.isnan(X).sum(), 3))
    with pytest.warns(RuntimeWarning, match="are NaN, in variable 0.*missing='mask'"): list(loaders(X, lambda x: x).train)
    with pytest.raises(TypeError, match='gave NoneType'): loaders(X, lambda x: None)

def test_beside_transforms_of_tsai():
    "What they do comes between: gaps that they add are masked, those that they mark are marked"
    X = with_gaps()
    dls = loaders(X, 'mask', batch_tfms=[TSStandardize(by_var=True),TSSelfMissingness(split_idx=0)])
    x = torch.cat([b[0] for b in dls.train])
    assert x.isfinite().all() and x[:,3].mean()>np.isnan(X[:40,0]).mean()
    equal(batches(loaders(X, 'zero', batch_tfms=TSMissingness(sel_vars=[0])))[:,3], np.isnan(X[:,0]))

def net(dls): return nn.Sequential(nn.Flatten(), nn.Linear(dls.vars*dls.len, dls.c))

def test_what_a_learner_does(tmp_path, monkeypatch):
    "Trains, shows, ranks variables, is exported; new samples are filled as in training"
    monkeypatch.chdir(tmp_path)
    X = with_gaps()
    dls = loaders(X, 'mask', batch_tfms=TSStandardize(by_var=True), shuffle=True)
    learn = Learner(dls, net(dls), metrics=lambda p,t: (p.argmax(1)==t).float().mean())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    preds = learn.get_preds()[0]
    assert np.isfinite(learn.recorder.values[-1]).all() and preds.isfinite().all()
    for method in ('permutation','ablation'):
        table = feature_importance(learn, method=method, show_chart=False)
        assert len(table)==4 and np.isfinite(table.iloc[:,1:]).all(None)
    learn.export('m.pkl')
    again = load_learner('m.pkl')
    close(again.get_preds(dl=again.dls.test_dl(X[40:]))[0], preds, rtol=1e-5)
    close(again.predict(X[41])[2], preds[1], rtol=1e-5)
    preds_to_memmap(again, X[40:], 'preds.npy')
    close(np.load('preds.npy'), preds, rtol=1e-5)

@pytest.mark.parametrize('kind', kinds)
def test_shown(kind):
    "Plots have a gap where a mask says so, and else what the model got"
    X = with_gaps()
    dls = loaders(X, kind, batch_tfms=TSStandardize(by_var=True))
    b = dls.valid.one_batch()
    x = dls.valid.decode(b)[0]
    expected = X[40:48] if kind=='mask' else by_numpy(X, 'mean' if kind=='zero' else kind)[40:48]
    close(x, expected, rtol=1e-3, atol=1e-4)
    ctxs = plt.subplots(1, 2)[1]
    dls.valid.show_batch(b, max_n=2, ctxs=ctxs)
    close(np.ma.filled(ctxs[1].lines[0].get_ydata(), np.nan), expected[1,0], rtol=1e-3, atol=1e-4)
    plt.close()

@pytest.mark.parametrize('kw,error', [
    (dict(missing='median'), "choose 'mask', 'zero', 'mean' or 'ffill'"),
    (dict(missing=0), 'missing=0: choose'),
    (dict(missing='mean', item_tfms=[lambda o: o]), "item_tfms makes samples differ .* pass missing='zero'"),
    (dict(missing='mask', tfms=[[lambda o: o],None]), 'a transform of X makes samples differ'),
    (dict(missing='zero', batch_tfms=TSNormalize(by_sample=True)), "pass missing='mean' or 'ffill'")])
def test_mistakes(kw, error):
    with pytest.raises(ValueError, match=error): loaders(with_gaps(), **kw)

@pytest.mark.parametrize('scale', ['var','group','window',(2.,3.)], ids=str)
@pytest.mark.parametrize('kind', ['mean','ffill'])
def test_gaps_of_a_small_series(scale, kind):
    "Beside a large one: they get its own mean, or its last value"
    a = np.random.default_rng(0).normal(0, 1, (80,1)).astype('f4')
    a[40:] = 1000*(5+a[40:])
    a[[0,10,11]] = np.nan # the first one has no value before
    X,_ = windows(a, 5, stride=5, groups=np.repeat(['small','large'], 40))
    dls = TSDataLoaders.from_memmap(X, np.zeros(16, 'f4'), splits=(range(15),[15]), scale=scale, missing=kind, bs=15, shuffle=False)
    got,x = dls.train.one_batch()[0].numpy()[:,0],X[np.arange(15)][:,0].astype('f8')
    if scale=='window': mean,std = np.nanmean(x, 1, keepdims=True),np.nanstd(x, 1, keepdims=True)
    elif scale=='group': mean,std = (np.where(np.arange(15)<8, f(a[:40], dtype='f8'), f(a[40:75], dtype='f8'))[:,None] for f in (np.nanmean,np.nanstd))
    else: mean,std = (np.nanmean(x),np.nanstd(x)) if scale=='var' else scale
    fill = mean if scale in ('group','window') else np.nanmean(x)
    expected = (np.where(np.isnan(x), fill, x)-mean)/std
    if kind=='ffill': expected[2,:2] = expected[2,0] # both gaps are at the start of their window
    close(got, expected, rtol=1e-4, atol=1e-4)
