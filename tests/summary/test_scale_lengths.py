"Statistics of samples of any length: those of their steps one after another, whatever a batch adds to them"
import time, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from tsai.data.preprocessing import TSClipOutliers, TSNormalize, TSRobustScale, TSStandardize
from memmap_ts.all import *
from memmap_ts.data.padded import Padded, PadRule
from memmap_ts.summary import scan
from memmap_ts.summary.sample import sample_rows
from memmap_ts.summary.scale import fit_tfms
from summaries import exact, old, stats_of

rng = np.random.default_rng(0)

def compare(got, groups, by_var, dtype):
    "Are statistics `got` those of each of `groups`, arrays (steps, vars)?"
    groups = [g[:,[v]] for g in groups for v in range(g.shape[1])] if by_var else groups
    for k,g in enumerate(groups):
        fields = {name: np.ravel(getattr(got, name))[k] for name in ('count','nans','mean','std','min','max')}
        v = g[~np.isnan(g)] if g.dtype.kind=='f' else g.ravel()
        assert (fields['count'],fields['nans'])==(v.size,g.size-v.size)
        if not v.size: assert np.isnan(fields['mean']); continue
        m,s = exact(v)
        scale = float(np.abs(v).max())
        close(fields['mean'], m, rtol=1e-12, atol=scale*1e-13)
        close(fields['std'], s, rtol=1e-9, atol=scale*1e-11)
        assert (fields['min'],fields['max'])==(v.min(),v.max()) and got.min.dtype==dtype

@settings(max_examples=120, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12), vars=st.integers(0, 3), data=st.data(),
       dtype=st.sampled_from(['f8','f4','f2','>f4','i2','u1','?']), far=st.booleans(), n_values=st.sampled_from([1,7,40,None]))
def test_steps_of_samples(lengths, vars, data, dtype, far, n_values):
    "Against exact arithmetic: any samples, named in any order, in blocks of any size"
    a = rng.normal(1e3 if far else 0, 5, (sum(lengths),vars) if vars else sum(lengths)).astype('f4').astype(dtype)
    if a.dtype.kind=='f' and len(a)>2: a[rng.integers(len(a), size=2)] = np.nan
    R,samples = ragged(a, np.array(lengths)),np.split(a.reshape(len(a), -1), np.cumsum(lengths)[:-1])
    if data.draw(st.booleans()): R,samples = R[::-1],samples[::-1]
    rows = data.draw(st.none() | st.lists(st.integers(0, len(R)-1), min_size=1, max_size=9))
    named = samples if rows is None else [samples[i] for i in rows]
    sizes = {} if n_values is None else {'n_values':n_values}
    for by in ('var','all','sample',('sample','var')):
        groups = named if 'sample' in by else [np.concatenate(named)]
        got = stats_of(R, rows, by, **sizes)
        assert got.rows==len(named)
        compare(got, groups, 'var' in by, a.dtype.newbyteorder('='))

def test_inf():
    "An infinite value spoils the mean of its own sample and variable"
    a = np.ones((6,2)); a[4,1] = np.inf
    got = stats_of(ragged(a, [3,3]), by=('sample','var'))
    equal(got.mean, [[1,1],[1,np.inf]])
    equal(got.std, [[0,0],[0,np.nan]])
    close(stats_of(ragged(a, [3,3])).mean, [1,np.inf])

@pytest.fixture
def files(tmp_path):
    "Samples in one file, and the same in a file for each; what they are"
    samples = [rng.normal(i, 1+i, (2,n)).astype('f4') for i,n in enumerate((5,1,30,4))]
    R = to_ragged(samples, tmp_path/'v.npy', tmp_path/'l.npy', progress=False)
    for i,x in enumerate(samples): np.save(tmp_path/f'part{i}.npy', x.T)
    for fn in tmp_path.glob('*.npy'): old(fn)
    return R,samples,tmp_path

def test_many_files_and_chosen_variables(files):
    R,samples,path = files
    many = ragged(open_memmaps(path/'part*.npy'), R.lengths)
    for by in ('var','all','sample',('sample','var')):
        for rows in (None, [2,0,2]):
            for some,x in ((many,samples), (R.select([1,0], slice(None))[0],[o[::-1] for o in samples]), (R.select([1], slice(None))[0],[o[1:] for o in samples])):
                named = [o.T for o in (x if rows is None else [x[i] for i in rows])]
                compare(stats_of(some, rows, by), named if 'sample' in by else [np.concatenate(named)], 'var' in by, 'f4')

def test_kept(files, monkeypatch):
    "Kept beside the file of values, for these lengths and rows"
    R,_,path = files
    first = [memmap_stats(R), memmap_stats(R, [0,2]), memmap_stats(R, by='all')]
    ran = []
    monkeypatch.setattr(scan.Scan, 'run', lambda self, progress: ran.append(self) or 1/0)
    again = open_memmap(path/'v.npy')
    R = ragged(again, open_memmap(path/'l.npy'))
    for got,kw in zip(first, ({}, dict(idxs=[2,0]), dict(by='all')), strict=True):
        equal(memmap_stats(R, **kw).mean, got.mean)
    for other in (ragged(again, [1,5,30,4]), R[1:]):
        with pytest.raises(ZeroDivisionError): memmap_stats(other)
    assert len(ran)==2

def test_no_statistics_of_a_step(files):
    R = files[0]
    for by in ('step',('var','step')):
        with pytest.raises(ValueError, match="by='step': these samples have 1 to 30 steps"): memmap_stats(R, by=by)
    with pytest.raises(IndexError): memmap_stats(R, [4])
    with pytest.raises(ValueError, match='has no values'): memmap_stats(R, [])

# Transforms

@pytest.mark.parametrize('padded', [False, True])
def test_transforms(files, padded):
    "Values of the steps of the training samples"
    R,samples,_ = files
    steps = np.concatenate([samples[i] for i in (0,2)], 1).astype('f8')
    X = Padded(R, PadRule(value=1e6)) if padded else R
    t, = fit_tfms(TSStandardize(by_var=True), X, [0,2])
    close(t.mean.ravel(), steps.mean(1), rtol=1e-6); close(t.std.ravel(), steps.std(1), rtol=1e-6)
    t, = fit_tfms(TSStandardize, X, range(4))
    close(t.mean.ravel(), np.concatenate(samples, 1).mean(), rtol=1e-6)
    t, = fit_tfms(TSNormalize(by_var=True), X, [0,2])
    equal(t.min.ravel(), steps.min(1).astype('f4')); equal(t.max.ravel(), steps.max(1).astype('f4'))
    t, = fit_tfms(TSRobustScale, X, [0,2])
    close(t.median.ravel(), np.median(steps, 1), rtol=1e-6)
    t, = fit_tfms(TSClipOutliers(by_var=True), X, [0,2])
    low,high = np.percentile(steps, [25,75], axis=1)
    close(t.min.ravel(), low-1.5*(high-low), rtol=1e-5)

def test_a_sample_of_the_samples(files):
    "No more values than asked for, about, also if one sample has more; the same each time"
    R,samples,_ = files
    x = sample_rows(R, [2], most=20)
    equal(x[0], samples[2][:,:10])
    assert sample_rows(R, range(4), most=30).shape[-1]<=30
    equal(sample_rows(R, range(4), most=30), sample_rows(R, range(4), most=30))

@pytest.mark.parametrize('t', [TSStandardize(by_step=True), TSNormalize(by_var=True, by_step=True)])
def test_transforms_of_steps(t, files):
    for X in (files[0],Padded(files[0], PadRule())):
        with pytest.raises(ValueError, match='no counterpart in another'): fit_tfms(t, X, range(4))

def test_a_million_samples_are_quickly_named():
    "Some of many samples: no list of steps, no slow search"
    n = 10**6
    R = ragged(np.zeros(3*n, 'i1'), np.full(n, 3))
    start = time.process_time()
    rows = np.sort(rng.permutation(n)[:n//2])
    assert stats_of(R, rows, 'all').count==len(rows)*3
    assert time.process_time()-start<5
