"Scaling by all training samples where these are windows, parts of rows, or one of several inputs"
import os, subprocess, sys, textwrap, time, warnings, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from tsai.data.preprocessing import TSClipOutliers, TSNormalize, TSRobustScale, TSStandardize
from memmap_ts.all import *
from memmap_ts.summary import scan
from memmap_ts import stats as stats_mod

def rows_of(W, idxs): return W[np.arange(len(W))[list(idxs) if isinstance(idxs, range) else idxs]]

def same(got, x, names):
    "Are statistics `got` of windows those of array `x` of (windows, vars, steps)?"
    x = x.astype('f8') if x.dtype.kind=='f' else x
    axes = tuple(i for i,nm in enumerate(('sample','var','step')) if nm not in names)
    scale = np.nanmax(abs(x))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        np.testing.assert_allclose(got.mean, np.nanmean(x, axes), rtol=1e-13, atol=scale*1e-15)
        np.testing.assert_allclose(got.std, np.nanstd(x, axes), rtol=1e-9, atol=scale*1e-13)
        np.testing.assert_array_equal(got.min, np.nanmin(x, axes)); np.testing.assert_array_equal(got.max, np.nanmax(x, axes))
    np.testing.assert_array_equal(got.count, (~np.isnan(x)).sum(axes)); np.testing.assert_array_equal(got.nans, np.isnan(x).sum(axes))
    assert got.rows==len(x)

@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0,60), min_size=1, max_size=6), st.integers(1,12), st.integers(1,20), st.integers(0,3), st.sampled_from([None,[1],[0,2],[2,0,1],[0,1,3]]),
       st.sampled_from(['all','range','slice','some','unsorted','twice','mask']), st.sampled_from(['var','all','step','sample',('var','step'),('sample','var')]), st.booleans(), st.integers(0,99))
def test_as_an_array(lengths, window_len, stride, start, get_x, which, by, first, seed):
    rng,n = np.random.default_rng(seed),sum(lengths)
    a = rng.normal([1e8,0,5,-1], [1,2,.1,0], (n,4))
    a[rng.random((n,4))<.1] = np.nan
    a = a if first else np.ascontiguousarray(a.T)
    try: W,_ = windows(a, window_len, stride, get_x=get_x, start=start, groups=np.repeat(np.arange(len(lengths)), lengths), seq_first=first)
    except ValueError: return
    k = np.flatnonzero(rng.random(len(W))<.6)
    if not len(k): k = np.array([len(W)-1])
    idxs = dict(all=None, range=range(k[0], len(W), 2), slice=slice(k[0], None, 3), some=k.astype(np.min_scalar_type(len(W)-1)), unsorted=rng.permutation(k), twice=np.append(k, k[:3]), mask=np.isin(np.arange(len(W)), k))[which]
    with pytest.MonkeyPatch.context() as m:
        m.setattr(scan, '_block_shape', lambda shape, _, lead=1, f=scan._block_shape: f(shape, 100, lead)) # many blocks
        m.setattr(scan, '_step', 2**12)
        got = memmap_stats(W, idxs, by=by)
    same(got, rows_of(W, slice(None) if idxs is None else idxs), (by,) if isinstance(by, str) else by)

@pytest.mark.parametrize('dtype', ['f4','>f4','f2','i8','u1','?'])
@pytest.mark.parametrize('n', [265,266])
def test_types(dtype, n, saved):
    "256 windows, and one more, for their numbers are kept in the smallest type"
    a = (np.random.default_rng(0).random((n,2))*9).astype(dtype)
    for idxs in (np.arange(0, n-9, 3), np.array([0,n-10])): same(memmap_stats(windows(saved(a), 10)[0], idxs.astype(np.min_scalar_type(n-10))), rows_of(windows(a, 10)[0], idxs), ['var'])

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
    assert abs(got.mean[0]-1e8-float(mean))<2e-8 and abs(got.std[0]/float(np.sqrt((w*(d-mean)**2).sum()/w.sum()))-1)<1e-13

def test_only_what_is_trained_on_is_read(monkeypatch):
    a = np.random.default_rng(0).normal(size=(20_000,2)); a[10_000:] = np.inf
    seen = []
    monkeypatch.setattr(scan, '_get', lambda a, sl, ax, rows, f=scan._get: seen.append((sl[ax].start,sl[ax].stop)) or f(a, sl, ax, rows))
    monkeypatch.setattr(scan, '_block_shape', lambda shape, _, lead=1, f=scan._block_shape: f(shape, 1000, lead))
    W,_ = windows(a, 50, groups=[2000]*10)
    train = np.flatnonzero((W.first_steps()<10_000)&(W.first_steps()//2000!=2)) # all of a group is left out
    assert np.isfinite(memmap_stats(W, train).std).all()
    assert max(b for _,b in seen)<=10_500 and not [s for s in seen if s[0]>=4100 and s[1]<=5900]

def test_kept(saved, monkeypatch):
    a = np.random.default_rng(0).normal(size=(3000,3)).astype('f4')
    fn = saved(a); os.utime(fn, ns=(0,10**18))
    def ask(*args, idxs=None, by='var', **kw): return memmap_stats(windows(fn, *args, **kw)[0], idxs, by)
    first,n = ask(50),[0]
    monkeypatch.setattr(stats_mod, '_scan_windows', lambda *a, f=stats_mod._scan_windows: n.__setitem__(0, n[0]+1) or f(*a))
    assert ask(50).std.tobytes()==first.std.tobytes() and n==[0]
    for i,kw in enumerate([dict(stride=2), dict(start=1), dict(horizon=1), dict(get_x=[0,1]), dict(get_x=[1,0,2]), dict(groups=[1000,2000]), dict(idxs=range(5,90)), dict(idxs=[5,6]), dict(by='all'), dict(by=('var','step'))], 1): ask(50, **kw); assert n==[i], kw
    ask(49); assert n==[11]
    ask(50, idxs=slice(5,90)); ask(50, idxs=[6,5]); ask(50, idxs=np.arange(2951)); assert n==[11]
    memmap_stats(fn); assert n==[11]

@pytest.fixture
def wild(saved):
    "A series that is far off where it is validated"
    rng = np.random.default_rng(0)
    a = rng.normal([0,5,100], [1,2,10], (1000,3)).astype('f4')
    a[800:] = 1e6
    a[::53,1] = np.nan
    return saved(a)

def fitted(X, tfm, **kw):
    "Loaders and the transform that they have, made without a warning"
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        dls = TSDataLoaders.from_memmap(X, batch_tfms=tfm, bs=8, **kw)
    return dls,dls.train.after_batch.fs[-1]

@pytest.mark.parametrize('stride', [1,7,100])
@pytest.mark.parametrize('kw,axes', [({},(0,1,2)), (dict(by_var=True),(0,2)), (dict(by_step=True),(0,1)), (dict(by_var=True,by_step=True),0), (dict(by_var=True,use_single_batch=False),(0,2))])
def test_windows_are_scaled(wild, stride, kw, axes):
    W,y = windows(wild, 40, stride, horizon=3, get_y=[0,2])
    splits = W.split_by_time(.8)
    x = rows_of(W, splits[0]).astype('f8')
    dls,t = fitted(W, TSStandardize(**kw), y=y, splits=splits, shuffle=False)
    mean,std = np.nanmean(x, axes, keepdims=True),np.nanstd(x, axes, keepdims=True)
    np.testing.assert_allclose(t.mean, mean, rtol=1e-6, atol=1e-7); np.testing.assert_allclose(t.std, std, rtol=1e-6)
    np.testing.assert_allclose(dls.train.one_batch()[0], (x[:8]-mean)/std, atol=1e-4)
    np.testing.assert_allclose(dls.valid.one_batch()[0], (rows_of(W, splits[1])[:8]-mean)/std, rtol=1e-4, atol=1e-3)
    _,t = fitted(W, TSNormalize(**kw), y=y, splits=splits)
    np.testing.assert_array_equal(t.min, np.nanmin(x, axes, keepdims=True)); np.testing.assert_array_equal(t.max, np.nanmax(x, axes, keepdims=True))

def test_groups_are_scaled():
    a = np.random.default_rng(0).normal(3, 2, (900,2)).astype('f4'); a[300:600] = 1e6
    W,_ = windows(a, 40, groups=[300]*3)
    splits = W.split_by_group([1])
    _,t = fitted(W, TSStandardize(by_var=True), splits=splits)
    x = rows_of(W, splits[0]).astype('f8')
    np.testing.assert_allclose(t.mean.ravel(), x.mean((0,2)), rtol=1e-6); np.testing.assert_allclose(t.std.ravel(), x.std((0,2)), rtol=1e-6)

def test_quantiles_of_windows(wild):
    W,_ = windows(wild, 40, get_x=[2,0])
    x = rows_of(W, W.split_by_time(.8)[0])
    _,t = fitted(W, TSRobustScale())
    q = np.percentile(x, [25,50,75], axis=(0,2))
    np.testing.assert_allclose(t.median.ravel(), q[1], rtol=1e-5); np.testing.assert_allclose(t.iqr.ravel(), 4*(q[2]-q[0]), rtol=1e-5)
    _,t = fitted(W, TSClipOutliers(by_var=True))
    np.testing.assert_allclose(t.max.ravel(), q[2]+1.5*(q[2]-q[0]), rtol=1e-5)

def test_quantiles_of_many_windows(wild, monkeypatch):
    "A sample of them, of all training windows and no others; their numbers are never all in memory"
    from memmap_ts.summary import scale
    monkeypatch.setattr(scale, '_most', 40*300)
    W,_ = windows(wild, 40, get_x=[0])
    _,t = fitted(W, TSRobustScale())
    assert abs(t.median.item())<.2 and abs(t.iqr.item()/(4*1.349)-1)<.2

@pytest.mark.parametrize('sel', [dict(sel_vars=[2,0]), dict(sel_steps=[3,1,9]), dict(sel_vars=[0,2,3], sel_steps=[0,1,7]), dict(sel_vars=slice(1,3), sel_steps=[5,2]), dict(sel_vars=1, sel_steps=slice(None,None,3)), dict(sel_vars=np.array([True,False,True,True]))], ids=str)
@pytest.mark.parametrize('kind', ['rows','windows'])
def test_some_variables_and_steps(sel, kind, saved):
    rng = np.random.default_rng(0)
    a = rng.normal([0,5,100,1e4], [1,2,10,1], (1500,4)).astype('f4')
    a[1200:] = 1e7
    X = windows(saved(a), 10, 3)[0] if kind=='windows' else saved(np.ascontiguousarray(a.reshape(150,10,4).transpose(0,2,1)))
    splits = X.split_by_time(.8) if kind=='windows' else (range(120),range(120,150))
    x = (rows_of(X, splits[0]) if kind=='windows' else np.load(X)[:120]).astype('f8')
    v,s = (o if isinstance(o, slice) else np.atleast_1d(o) for o in (sel.get('sel_vars', slice(None)),sel.get('sel_steps', slice(None))))
    x = x[:,v][:,:,s]
    for kw,axes in (({},(0,1,2)), (dict(by_var=True),(0,2)), (dict(by_var=True, by_step=True),0)):
        dls,t = fitted(X, TSStandardize(**kw), splits=splits, shuffle=False, **sel)
        np.testing.assert_allclose(t.mean, x.mean(axes, keepdims=True), rtol=1e-6, atol=1e-7); np.testing.assert_allclose(t.std, x.std(axes, keepdims=True), rtol=1e-6)
        np.testing.assert_allclose(dls.train.one_batch()[0], (x[:8]-x.mean(axes, keepdims=True))/x.std(axes, keepdims=True), atol=2e-3)
        _,t = fitted(X, TSNormalize(**kw), splits=splits, **sel)
        np.testing.assert_array_equal(t.max, x.max(axes, keepdims=True))
    _,t = fitted(X, TSRobustScale(), splits=splits, **sel)
    np.testing.assert_allclose(t.median.ravel(), np.median(x, (0,2)), rtol=1e-5, atol=1e-6)

@pytest.mark.parametrize('order', [1,-1])
def test_one_series_of_several_inputs(order, saved):
    rng = np.random.default_rng(0)
    X,s = rng.normal(5, 2, (100,3,20)),rng.normal(7, 3, (100,4)).astype('f4')
    X[80:] = 1e6
    dls,t = fitted((saved(X),s)[::order], TSStandardize(by_var=True), splits=(range(80),range(80,100)), shuffle=False, dtype=('float64','float32')[::order])
    a,b = dls.train.one_batch()[0][::order]
    np.testing.assert_allclose(t.mean.ravel(), X[:80].mean((0,2)), rtol=1e-6)
    np.testing.assert_allclose(a, (X[:8]-X[:80].mean((0,2), keepdims=True))/X[:80].std((0,2), keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(b, s[:8]) # features are left alone
    if order==1:
        _,t = fitted((saved(X),s), TSStandardize(by_var=True), splits=(range(80),range(80,100)), sel_vars=[2,0])
        np.testing.assert_allclose(t.mean.ravel(), X[:80][:,[2,0]].mean((0,2)), rtol=1e-6)

def test_casts(saved):
    "To another kind of number with room for the old ones, values stay what they are"
    X = np.random.default_rng(0).normal(50, 9, (100,2,20))
    for on_disk,dtype in (('f8','float32'), ('f4','float64'), ('f2','float32'), ('i2','float32'), ('u1',torch.float32), ('?','float32')):
        _,t = fitted(saved(X.astype(on_disk)), TSStandardize(by_var=True), splits=(range(80),range(80,100)), dtype=dtype)
        np.testing.assert_allclose(t.mean.ravel(), X.astype(on_disk)[:80].mean((0,2), dtype='f8'), rtol=1e-6)

@pytest.mark.parametrize('make,why', [(lambda X: dict(X=X, dtype='int16'), 'int16'), (lambda X: dict(X=windows(X[0].T, 9)[0], item_tfms=lambda o: o*2), 'item_tfms')])
def test_one_batch_still(make, why):
    X = np.random.default_rng(0).normal(size=(100,2,20)).astype('f4')
    with pytest.warns(UserWarning, match=f'from one batch, for .*{why}'): TSDataLoaders.from_memmap(**make(X), splits=(range(8),range(8,10)), batch_tfms=TSNormalize())

def test_two_series():
    "One set of values can't be right for both"
    X = np.random.default_rng(0).normal(size=(100,2,20)).astype('f4')
    with pytest.warns(UserWarning, match='one of several series'), pytest.raises(TypeError): # tsai takes no statistics of a tuple
        TSDataLoaders.from_memmap((X,X), batch_tfms=TSStandardize())

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells anonymous memory (RssAnon)')
@pytest.mark.parametrize('shape,first', [((100_000_000,),1), ((4,25_000_000),0)])
def test_memory(shape, first, tmp_path):
    (tmp_path/'run.py').write_text(textwrap.dedent('''
        import sys, numpy as np
        from memmap_ts.all import *
        from memmap_ts.bench.reading import watch_memory
        from tsai.data.preprocessing import TSRobustScale, TSStandardize
        def go(a, n):
            W,_ = windows(a, n, seq_first=sys.argv[2]=='1' or a.ndim==1)
            for splits in (W.split_by_time(.8), (np.arange(0, len(W), 9, 'u4'),)):
                for t in (TSStandardize(by_var=True), TSRobustScale()): TSDataLoaders.from_memmap(W, splits=splits, batch_tfms=t)
            memmap_stats(W, range(10**5), by=('var','step'), progress=False)
        go(np.ones(2*10**5, 'f4'), 96)
        print('peak', watch_memory(lambda: go(open_memmap(sys.argv[1]), 96), .005)[1])'''))
    a = create_memmap(tmp_path/'X.npy', shape)
    assert a.nbytes>=4e8
    r = subprocess.run([sys.executable, tmp_path/'run.py', tmp_path/'X.npy', str(first)], capture_output=True, text=True, timeout=900)
    assert r.returncode==0, r.stderr
    peak = int(r.stdout.split()[-1])
    assert peak < 200e6, f'{peak/1e6:.0f} MB'

@pytest.mark.parametrize('dtype', ['u1','i2','u2','>i4','i8'])
def test_row_numbers_of_any_dtype(dtype):
    "No sum of row numbers is made in the type they come in"
    W,_ = windows(np.random.default_rng(0).normal(size=(70_000,1)), 10)
    i = np.arange(250 if dtype=='u1' else 30_000).astype(dtype)
    same(memmap_stats(W, i), W[i.astype(int)], ('var',))

def test_kept_for_these_windows_only(tmp_path):
    "Windows of 12 steps are not two windows of 10"
    np.save(tmp_path/'a.npy', np.arange(2000.)[:,None]); time.sleep(.1)
    memmap_stats(windows(tmp_path/'a.npy', 12)[0])
    W,_ = windows(tmp_path/'a.npy', 10, horizon=2)
    same(memmap_stats(W, [10,11]), W[[10,11]], ('var',))

@pytest.mark.parametrize('value', [5e8,-5e8,0,1e-3])
def test_a_constant(value):
    x = np.random.default_rng(0).normal(size=(20,3,10)).astype('f4'); x[:,1] = value
    dls = TSDataLoaders.from_memmap(x, batch_tfms=TSNormalize(by_var=True), bs=4)
    assert dls.valid.one_batch()[0].isfinite().all()

def test_kept_or_not(tmp_path):
    "Numbers that JSON does not have; a file of that name that somebody else has written"
    np.save(tmp_path/'a.npy', np.ones((5,2,3), np.longdouble)); np.save(tmp_path/'b.npy', np.ones((5,2,3))); time.sleep(.1)
    (tmp_path/'b.npy.stats.json').write_text('[{"key":[1]}, 3, {"key":{}}]')
    for f in ('a.npy','b.npy'): assert memmap_stats(tmp_path/f).mean.tolist()==[1,1]==memmap_stats(tmp_path/f).mean.tolist()

@pytest.mark.parametrize('t', [TSStandardize(by_var=True), TSStandardize(), TSNormalize(by_var=True)], ids=str)
def test_infinite_values_are_told(t, saved):
    "One would make every sample infinite"
    X = np.random.default_rng(0).normal(size=(40,3,10)).astype('f4'); X[7,1,2] = np.inf
    with pytest.raises(ValueError, match='infinite values in training rows, in variable'): TSDataLoaders.from_memmap(saved(X), splits=(range(20),range(20,40)), batch_tfms=t)
    TSDataLoaders.from_memmap(saved(X), splits=(range(20,40),range(20)), batch_tfms=t)
