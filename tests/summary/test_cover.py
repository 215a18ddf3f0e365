"Statistics of windows are those that they would have as an array"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from memmap_ts.all import *
from memmap_ts.summary.blocks import BlockReader
from summaries import rows_of, same, stats_of

WHICH = ['all','range','slice','some','unsorted','twice','mask']
BY = ['var','all','step','sample',('var','step'),('sample','var')]

@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0,60), min_size=1, max_size=6), st.integers(1,12), st.integers(1,20), st.integers(0,3),
       st.sampled_from([None,[1],[0,2],[2,0,1],[0,1,3]]), st.sampled_from(WHICH), st.sampled_from(BY), st.booleans(),
       st.integers(0,99))
def test_as_an_array(lengths, window_len, stride, start, get_x, which, by, first, seed):
    rng,n = np.random.default_rng(seed),sum(lengths)
    a = rng.normal([1e8,0,5,-1], [1,2,.1,0], (n,4))
    a[rng.random((n,4))<.1] = np.nan
    a = a if first else np.ascontiguousarray(a.T)
    groups = np.repeat(np.arange(len(lengths)), lengths)
    try: W,_ = windows(a, window_len, stride, get_x=get_x, start=start, groups=groups, seq_first=first)
    except ValueError: return
    k = np.flatnonzero(rng.random(len(W))<.6)
    if not len(k): k = np.array([len(W)-1])
    idxs = dict(all=None, range=range(k[0], len(W), 2), slice=slice(k[0], None, 3), unsorted=rng.permutation(k),
                some=k.astype(np.min_scalar_type(len(W)-1)), twice=np.append(k, k[:3]),
                mask=np.isin(np.arange(len(W)), k))[which]
    got = stats_of(W, idxs, by, n_values=100, step_bytes=2**12) # many blocks
    same(got, rows_of(W, slice(None) if idxs is None else idxs), (by,) if isinstance(by, str) else by)

@pytest.mark.parametrize('dtype', ['f4','>f4','f2','i8','u1','?'])
@pytest.mark.parametrize('n', [265,266])
def test_types(dtype, n, saved):
    "256 windows, and one more, for their numbers are kept in the smallest type"
    a = (np.random.default_rng(0).random((n,2))*9).astype(dtype)
    for idxs in (np.arange(0, n-9, 3), np.array([0,n-10])):
        got = memmap_stats(windows(saved(a), 10)[0], idxs.astype(np.min_scalar_type(n-10)))
        same(got, rows_of(windows(a, 10)[0], idxs), ['var'])

def test_targets():
    a = np.random.default_rng(0).normal(size=(300,3))
    _,y = windows(a, 10, 3, horizon=[1,4,9])
    same(memmap_stats(y, range(5,40)), y[list(range(5,40))], ['var'])
    _,y = windows(a, 10, horizon=1, get_y=1)
    assert abs(memmap_stats(y).mean-a[10:,1].mean())<1e-12

def test_long():
    "Far from zero, through many blocks: every digit that float64 has"
    a = np.random.default_rng(0).normal(1e8, 1, 300_000)
    W,_ = windows(a, 500)
    train,_ = W.split_by_time(.8)
    got = memmap_stats(W, train)
    w = np.minimum(np.minimum(np.arange(240_000)+1, 500), 240_000-np.arange(240_000)).astype('longdouble')
    d = a[:240_000].astype('longdouble')-10**8
    mean = (w*d).sum()/w.sum()
    std = np.sqrt((w*(d-mean)**2).sum()/w.sum())
    assert abs(got.mean[0]-1e8-float(mean))<2e-8 and abs(got.std[0]/float(std)-1)<1e-13

def test_only_what_is_trained_on_is_read(monkeypatch):
    a = np.random.default_rng(0).normal(size=(20_000,2)); a[10_000:] = np.inf
    seen = []
    def read(self, block, read=BlockReader.read):
        seen.append((block[self.row_axis].start,block[self.row_axis].stop))
        return read(self, block)
    monkeypatch.setattr(BlockReader, 'read', read)
    W,_ = windows(a, 50, groups=[2000]*10)
    train = np.flatnonzero((W.first_steps()<10_000)&(W.first_steps()//2000!=2)) # all of a group is left out
    assert np.isfinite(stats_of(W, train, n_values=1000).std).all()
    assert max(b for _,b in seen)<=10_500 and not [s for s in seen if s[0]>=4100 and s[1]<=5900]

@pytest.mark.parametrize('dtype', ['u1','i2','u2','>i4','i8'])
def test_row_numbers_of_any_dtype(dtype):
    "No sum of row numbers is made in the type they come in"
    W,_ = windows(np.random.default_rng(0).normal(size=(70_000,1)), 10)
    i = np.arange(250 if dtype=='u1' else 30_000).astype(dtype)
    same(memmap_stats(W, i), W[i.astype(int)], ('var',))
