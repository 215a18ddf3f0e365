"What tests of statistics compare with"
import math, os, warnings, numpy as np
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from memmap_ts.stats import Stats
from memmap_ts.summary.summarise import summarise

def stats_of(X, idxs=None, by='var', **sizes):
    "What `memmap_stats` gives, of blocks and steps of other sizes: small ones, so that there are many"
    names,n_rows,fields = summarise(X, idxs, by, False, **sizes)
    return Stats(names, n_rows, *fields)

def exact(v):
    "Mean and std of some numbers, in as good as exact arithmetic"
    v = [float(o) for o in np.ravel(v)]
    m = math.fsum(v)/len(v)
    return m,math.sqrt(math.fsum((o-m)**2 for o in v)/len(v))

def old(fn):
    "A file as if it had been written long ago"
    os.utime(fn, ns=(0,10**18))
    return fn

def rows_of(W, idxs): return W[np.arange(len(W))[list(idxs) if isinstance(idxs, range) else idxs]]

def same(got, x, names):
    "Are statistics `got` of windows those of array `x` of (windows, vars, steps)?"
    x = x.astype('f8') if x.dtype.kind=='f' else x
    axes = tuple(i for i,nm in enumerate(('sample','var','step')) if nm not in names)
    scale = np.nanmax(abs(x))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        close(got.mean, np.nanmean(x, axes), rtol=1e-13, atol=scale*1e-15)
        close(got.std, np.nanstd(x, axes), rtol=1e-9, atol=scale*1e-13)
        equal(got.min, np.nanmin(x, axes))
        equal(got.max, np.nanmax(x, axes))
    equal(got.count, (~np.isnan(x)).sum(axes))
    equal(got.nans, np.isnan(x).sum(axes))
    assert got.rows==len(x)
