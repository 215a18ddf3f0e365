"Scaling by all training samples where these are windows, parts of rows, or one of several inputs"
import warnings, numpy as np, pytest, torch
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from tsai.data.preprocessing import TSClipOutliers, TSNormalize, TSRobustScale, TSStandardize
from forked import run
from memmap_ts.all import *
from memmap_ts.summary.sample import sample_rows
from summaries import rows_of
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

@pytest.fixture
def wild(saved):
    "A series that is far off where it is validated"
    rng = np.random.default_rng(0)
    a = rng.normal([0,5,100], [1,2,10], (1000,3)).astype('f4')
    a[800:] = 1e6
    a[::53,1] = np.nan
    return saved(a)

def fitted(X, tfm, **kw):
    "Loaders and the transform that they have, which takes its statistics from all rows without a word"
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.* takes its statistics from one batch')
        dls = TSDataLoaders.from_memmap(X, batch_tfms=tfm, bs=8, **kw)
    return dls,dls.train.after_batch.fs[-1]

@pytest.mark.parametrize('stride', [1,7,100])
@pytest.mark.parametrize('kw,axes', [
    ({},(0,1,2)), (dict(by_var=True),(0,2)), (dict(by_step=True),(0,1)), (dict(by_var=True,by_step=True),0),
    (dict(by_var=True,use_single_batch=False),(0,2))])
def test_windows_are_scaled(wild, stride, kw, axes):
    W,y = windows(wild, 40, stride, horizon=3, get_y=[0,2])
    splits = W.split_by_time(.8)
    x = rows_of(W, splits[0]).astype('f8')
    dls,t = fitted(W, TSStandardize(**kw), y=y, splits=splits, shuffle=False)
    mean,std = np.nanmean(x, axes, keepdims=True),np.nanstd(x, axes, keepdims=True)
    close(t.mean, mean, rtol=1e-6, atol=1e-7)
    close(t.std, std, rtol=1e-6)
    close(dls.train.one_batch()[0], (x[:8]-mean)/std, atol=1e-4)
    close(dls.valid.one_batch()[0], (rows_of(W, splits[1])[:8]-mean)/std, rtol=1e-4, atol=1e-3)
    _,t = fitted(W, TSNormalize(**kw), y=y, splits=splits)
    equal(t.min, np.nanmin(x, axes, keepdims=True))
    equal(t.max, np.nanmax(x, axes, keepdims=True))

def test_groups_are_scaled():
    a = np.random.default_rng(0).normal(3, 2, (900,2)).astype('f4'); a[300:600] = 1e6
    W,_ = windows(a, 40, groups=[300]*3)
    splits = W.split_by_group([1])
    _,t = fitted(W, TSStandardize(by_var=True), splits=splits)
    x = rows_of(W, splits[0]).astype('f8')
    close(t.mean.ravel(), x.mean((0,2)), rtol=1e-6)
    close(t.std.ravel(), x.std((0,2)), rtol=1e-6)

def test_quantiles_of_windows(wild):
    W,_ = windows(wild, 40, get_x=[2,0])
    x = rows_of(W, W.split_by_time(.8)[0])
    _,t = fitted(W, TSRobustScale())
    q = np.percentile(x, [25,50,75], axis=(0,2))
    close(t.median.ravel(), q[1], rtol=1e-5)
    close(t.iqr.ravel(), 4*(q[2]-q[0]), rtol=1e-5)
    _,t = fitted(W, TSClipOutliers(by_var=True))
    close(t.max.ravel(), q[2]+1.5*(q[2]-q[0]), rtol=1e-5)

def test_quantiles_of_many_windows(wild):
    "A sample of them, of all training windows and no others; their numbers are never all in memory"
    W,_ = windows(wild, 40, get_x=[0])
    x = sample_rows(W, W.split_by_time(.8)[0], most=40*300)
    assert x.shape==(300,1,40) and abs(np.nanmedian(x))<.2 and abs(x).max()<10

@pytest.mark.parametrize('sel', [
    dict(sel_vars=[2,0]), dict(sel_steps=[3,1,9]), dict(sel_vars=[0,2,3], sel_steps=[0,1,7]),
    dict(sel_vars=slice(1,3), sel_steps=[5,2]), dict(sel_vars=1, sel_steps=slice(None,None,3)),
    dict(sel_vars=np.array([True,False,True,True]))], ids=str)
@pytest.mark.parametrize('kind', ['rows','windows'])
def test_some_variables_and_steps(sel, kind, saved):
    rng = np.random.default_rng(0)
    a = rng.normal([0,5,100,1e4], [1,2,10,1], (1500,4)).astype('f4')
    a[1200:] = 1e7
    rows = np.ascontiguousarray(a.reshape(150,10,4).transpose(0,2,1))
    X = windows(saved(a), 10, 3)[0] if kind=='windows' else saved(rows)
    splits = X.split_by_time(.8) if kind=='windows' else (range(120),range(120,150))
    x = (rows_of(X, splits[0]) if kind=='windows' else np.load(X)[:120]).astype('f8')
    wanted = [sel.get(k, slice(None)) for k in ('sel_vars','sel_steps')]
    v,s = (o if isinstance(o, slice) else np.atleast_1d(o) for o in wanted)
    x = x[:,v][:,:,s]
    for kw,axes in (({},(0,1,2)), (dict(by_var=True),(0,2)), (dict(by_var=True, by_step=True),0)):
        dls,t = fitted(X, TSStandardize(**kw), splits=splits, shuffle=False, **sel)
        close(t.mean, x.mean(axes, keepdims=True), rtol=1e-6, atol=1e-7)
        close(t.std, x.std(axes, keepdims=True), rtol=1e-6)
        mean,std = x.mean(axes, keepdims=True),x.std(axes, keepdims=True)
        close(dls.train.one_batch()[0], (x[:8]-mean)/std, atol=2e-3)
        _,t = fitted(X, TSNormalize(**kw), splits=splits, **sel)
        equal(t.max, x.max(axes, keepdims=True))
    _,t = fitted(X, TSRobustScale(), splits=splits, **sel)
    close(t.median.ravel(), np.median(x, (0,2)), rtol=1e-5, atol=1e-6)

@pytest.mark.parametrize('order', [1,-1])
def test_one_series_of_several_inputs(order, saved):
    rng = np.random.default_rng(0)
    X,s = rng.normal(5, 2, (100,3,20)),rng.normal(7, 3, (100,4)).astype('f4')
    X[80:] = 1e6
    splits = range(80),range(80,100)
    dls,t = fitted((saved(X),s)[::order], TSStandardize(by_var=True), splits=splits, shuffle=False,
                   dtype=('float64','float32')[::order])
    a,b = dls.train.one_batch()[0][::order]
    close(t.mean.ravel(), X[:80].mean((0,2)), rtol=1e-6)
    close(a, (X[:8]-X[:80].mean((0,2), keepdims=True))/X[:80].std((0,2), keepdims=True), atol=1e-5)
    equal(b, s[:8]) # features are left alone
    if order==1:
        _,t = fitted((saved(X),s), TSStandardize(by_var=True), splits=(range(80),range(80,100)), sel_vars=[2,0])
        close(t.mean.ravel(), X[:80][:,[2,0]].mean((0,2)), rtol=1e-6)

def test_casts(saved):
    "To another kind of number with room for the old ones, values stay what they are"
    X = np.random.default_rng(0).normal(50, 9, (100,2,20))
    casts = ('f8','float32'),('f4','float64'),('f2','float32'),('i2','float32'),('u1',torch.float32),('?','float32')
    splits = range(80),range(80,100)
    for on_disk,dtype in casts:
        _,t = fitted(saved(X.astype(on_disk)), TSStandardize(by_var=True), splits=splits, dtype=dtype)
        close(t.mean.ravel(), X.astype(on_disk)[:80].mean((0,2), dtype='f8'), rtol=1e-6)

@pytest.mark.parametrize('make,why', [
    (lambda X: dict(X=X.round(), dtype='int16'), 'int16'),
    (lambda X: dict(X=windows(X[0].T, 9)[0], item_tfms=lambda o: o*2), 'item_tfms')])
def test_one_batch_still(make, why):
    X = np.random.default_rng(0).normal(size=(100,2,20)).astype('f4')
    with pytest.warns(RuntimeWarning, match=f'from one batch, for .*{why}'):
        TSDataLoaders.from_memmap(**make(X), splits=(range(8),range(8,10)), batch_tfms=TSNormalize())

def test_two_series():
    "One set of values can't be right for both"
    X = np.random.default_rng(0).normal(size=(100,2,20)).astype('f4')
    with pytest.warns(RuntimeWarning, match='one of several series'), pytest.raises(TypeError): # tsai takes no tuples
        TSDataLoaders.from_memmap((X,X), batch_tfms=TSStandardize())

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
@pytest.mark.parametrize('shape,first', [((100_000_000,),1), ((4,25_000_000),0)])
def test_memory(shape, first, tmp_path):
    code = '''
        import sys, numpy as np
        from memmap_ts.all import *
        from memmap_ts.testing import watch_memory
        from tsai.data.preprocessing import TSRobustScale, TSStandardize
        def go(a, n):
            W,_ = windows(a, n, seq_first=sys.argv[2]=='1' or a.ndim==1)
            for splits in (W.split_by_time(.8), (np.arange(0, len(W), 9, 'u4'),)):
                for t in (TSStandardize(by_var=True), TSRobustScale()):
                    TSDataLoaders.from_memmap(W, splits=splits, batch_tfms=t)
            memmap_stats(W, range(10**5), by=('var','step'), progress=False)
        go(np.ones(2*10**5, 'f4'), 96)
        print('peak', watch_memory(lambda: go(open_memmap(sys.argv[1]), 96), .005)[1])'''
    a = create_memmap(tmp_path/'X.npy', shape)
    assert a.nbytes>=4e8
    r = run(code, tmp_path/'X.npy', first)
    assert r.returncode==0, r.stderr
    peak = int(r.stdout.split()[-1])
    assert peak < 200e6, f'{peak/1e6:.0f} MB'

@pytest.mark.parametrize('value', [5e8,-5e8,0,1e-3])
def test_a_constant(value):
    x = np.random.default_rng(0).normal(size=(20,3,10)).astype('f4'); x[:,1] = value
    dls = TSDataLoaders.from_memmap(x, batch_tfms=TSNormalize(by_var=True), bs=4)
    assert dls.valid.one_batch()[0].isfinite().all()

@pytest.mark.parametrize('t', [TSStandardize(by_var=True), TSStandardize(), TSNormalize(by_var=True)], ids=str)
def test_infinite_values_are_told(t, saved):
    "One would make every sample infinite"
    X = np.random.default_rng(0).normal(size=(40,3,10)).astype('f4'); X[7,1,2] = np.inf
    with pytest.raises(ValueError, match='infinite values in training rows, in variable'):
        TSDataLoaders.from_memmap(saved(X), splits=(range(20),range(20,40)), batch_tfms=t)
    TSDataLoaders.from_memmap(saved(X), splits=(range(20,40),range(20)), batch_tfms=t)

@pytest.mark.parametrize('scale', ['var','group'])
def test_infinite_values_of_both_signs_are_told(scale):
    "Their mean is NaN, not infinite"
    a = np.random.default_rng(0).normal(size=(200,2)).astype('f4'); a[3:5,1] = np.inf,-np.inf
    with pytest.raises(ValueError, match='infinite values in training steps, in variable 1'):
        TSDataLoaders.from_memmap(*windows(a, 20, horizon=2, get_y=0), scale=scale)
