"Mean and std of the steps that training windows lie in, each once, against NumPy"
import numpy as np, pytest
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from memmap_ts.collect import open_memmaps
from memmap_ts.data.ranges import Ranges
from memmap_ts.summary import pieces
from memmap_ts.summary.groups import groups_of
from memmap_ts.summary.pieces import step_stats
from memmap_ts.windows import windows

def covered(X, rows):
    "For each group the steps that windows of `rows` lie in, said step by step"
    s = X.starts
    res = [set() for _ in s.ids]
    for i in rows:
        first = int(X.first_steps([i])[0])
        res[int(s.group_of(np.array([i]))[0])].update(range(first, first+s.reach))
    return [sorted(o) for o in res]

@pytest.fixture
def table():
    "Series of very different size, with NaNs, a constant and an empty variable"
    rng = np.random.default_rng(0)
    a = rng.normal([0,5,100,0], [1,2,10,0], (600,4)).astype('f4')
    a[200:350] *= 1000
    a[350:] += 1e6
    a[::7,1] = np.nan
    a[200:350,2] = np.nan
    return a

@pytest.mark.parametrize('n_values', [2**20,200,28]) # all at once, and some steps at a time
@pytest.mark.parametrize('stride,horizon', [(1,3),(25,[1,5])])
def test_of_each_group(table, n_values, stride, horizon, monkeypatch):
    monkeypatch.setattr(pieces, '_most_values', n_values)
    X,_ = windows(table, 10, stride, horizon=horizon, groups=np.repeat(list('abcd'), [200,150,240,10]))
    for rows in (None, range(3, len(X), 2), X.split_by_time(.6)[0], np.array([7,2,3])):
        want = covered(X, range(len(X)) if rows is None else rows)
        count,nans,mean,std,low,high = step_stats(X, rows, [3,0,2,1], by_group=True)
        for g,at in enumerate(want):
            x = table[at][:,[3,0,2,1]].astype('f8')
            known = np.isfinite(x).sum(0)
            equal(count[g], known)
            equal(nans[g], len(at)-known)
            some = known>0
            close(mean[g,some], np.nanmean(x[:,some], 0), rtol=1e-9, atol=1e-12)
            close(std[g,some], np.nanstd(x[:,some], 0), rtol=1e-6, atol=1e-9)
            if some.any(): equal([low[g,some],high[g,some]], [f(x[:,some], 0) for f in (np.nanmin,np.nanmax)])
            assert np.isnan(mean[g,~some]).all()
        every = table[sorted(sum(want, []))][:,[3,0]].astype('f8')
        close(step_stats(X, rows, [3,0])[2][0], every.mean(0), rtol=1e-9)

@pytest.mark.parametrize('kind', ['memory','file','turned','files'])
def test_wherever_it_lies(table, kind, tmp_path):
    a,kw = table,dict(groups=[250,350])
    if kind in ('file','turned'): np.save(tmp_path/'a.npy', a if kind=='file' else a.T.copy())
    if kind=='turned': kw.update(seq_first=False)
    if kind=='files':
        for i,part in enumerate((a[:250],a[250:])): np.save(tmp_path/f'{i}.npy', part)
        source,kw = open_memmaps([tmp_path/'0.npy',tmp_path/'1.npy']),{}
    else: source = a if kind=='memory' else tmp_path/'a.npy'
    X,_ = windows(source, 10, **kw)
    mean = step_stats(X, by_group=True)[2]
    close(mean, [np.nanmean(o.astype('f8'), 0) for o in (a[:250],a[250:])], rtol=1e-9)
    close(step_stats(X)[2][0], np.nanmean(a.astype('f8'), 0), rtol=1e-9)

def test_kept_beside_the_file(saved, table, monkeypatch):
    "As other statistics are; for other windows they are taken anew"
    import os, time
    path = saved(table)
    os.utime(path, ns=(time.time_ns()-10**10,)*2)
    X,_ = windows(path, 10, groups=[300,300])
    want = step_stats(X, by_group=True)
    passes = []
    scan = pieces.scan_groups
    monkeypatch.setattr(pieces, 'scan_groups', lambda *args: passes.append(1) or scan(*args))
    for got,field in zip(step_stats(X, by_group=True), want): equal(got, field)
    assert not passes
    step_stats(X, range(50), by_group=True)
    step_stats(windows(path, 11, groups=[300,300])[0], by_group=True)
    step_stats(windows(path, 10, groups=[299,301])[0], by_group=True)
    assert len(passes)==3

def test_ranges_stay_ranges(table, monkeypatch):
    "A hundred million row numbers would take 400 MB"
    X,_ = windows(table, 10, groups=[200,150,240,10])
    ranges = X.split_by_time(.6)[0]
    assert isinstance(ranges, Ranges)
    want = step_stats(X, np.asarray(ranges), by_group=True),groups_of(X.starts, np.asarray(ranges))
    def no_array(*_, **__): raise AssertionError('an array of all row numbers')
    monkeypatch.setattr(Ranges, '__array__', no_array)
    for got,field in zip(step_stats(X, ranges, by_group=True), want[0]): equal(got, field)
    equal(groups_of(X.starts, ranges), want[1])
    assert 0<want[1].sum()<4

def test_integers_and_empty_groups():
    a = np.arange(40, dtype='i2')
    X,_ = windows(a, 4, groups=[3,0,20,17])
    count,_,mean,*_ = step_stats(X, by_group=True)
    equal(count.ravel(), [0,0,20,17]) # three steps are no window
    close(mean.ravel()[2:], [a[3:23].mean(),a[23:].mean()])
