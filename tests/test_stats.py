"Statistics: exact, of the rows asked for, kept only as long as they are true; what scales the batches comes from training rows"
import json, math, os, subprocess, sys, textwrap, time, warnings, numpy as np, pytest, torch
from fastai.learner import load_learner
from tsai.data.preprocessing import TSClipOutliers, TSNan2Value, TSNormalize, TSRobustScale, TSStandardize
from tsai.learner import ts_learner
from memmap_ts.all import *
from memmap_ts.stats import memmap_stats
from memmap_ts.summary import scan
from memmap_ts import stats as stats_mod

def exact(v):
    "Mean and std of some numbers, in as good as exact arithmetic"
    v = [float(o) for o in np.ravel(v)]
    m = math.fsum(v)/len(v)
    return m,math.sqrt(math.fsum((o-m)**2 for o in v)/len(v))

@pytest.mark.parametrize('dtype', ['f4','f8','>f4','f2','i8','u1'])
def test_exact(dtype, saved, monkeypatch):
    monkeypatch.setattr(scan, '_step', 2**12) # many steps, several threads
    mean,std = (1e8,1) if dtype in ('f8','i8') else (1e8,1000) if dtype[-2:]=='f4' else (100,10)
    X = np.random.default_rng(0).normal(mean, std, (2000,3,40)).astype(dtype)
    for a in (X, np.load(saved(X), mmap_mode='r')):
        st = memmap_stats(a)
        for v in range(3):
            m,s = exact(X[:,v])
            assert abs(st.mean[v]-m) <= 4e-16*abs(m) and abs(st.std[v]/s-1) < 1e-12
        assert (st.min==X.min((0,2))).all() and (st.max==X.max((0,2))).all() and st.min.dtype==X.dtype.newbyteorder('=')
        assert (st.count==80_000).all() and (st.nans==0).all()

def test_float32_mean_1e8_std_1():
    "A float32 near 1e8 is a multiple of 8: what counts is what was rounded to"
    X = np.random.default_rng(0).normal(1e8, 1, (50_000,1,10)).astype('f4'); X[::3] += 8
    st = memmap_stats(X, by='all')
    m,s = exact(X)
    assert abs(st.mean-m) <= 2e-8 and abs(st.std/s-1) < 1e-12

def test_drift():
    "The mean moves far from where it began"
    X = (np.arange(3_000_000.)**2).reshape(-1,1,1)
    st,(m,s) = memmap_stats(X, by='all'),exact(X)
    assert abs(st.mean/m-1) < 1e-15 and abs(st.std/s-1) < 1e-13

@pytest.mark.parametrize('by', ['var','step','sample','all',('var','step'),('sample','var')])
@pytest.mark.parametrize('view', [lambda X: X, lambda X: X[:,:3], lambda X: X[::-2,:,1::2], lambda X: X[:,0], lambda X: X.T, lambda X: X[3:4], lambda X: X[:,0,0]])
@pytest.mark.parametrize('fortran', [False,True])
def test_views_and_rows(by, view, fortran, saved):
    X = np.random.default_rng(0).normal(5, 2, (700,5,6)); X[::7,1,:3] = np.nan
    fn = saved(np.asfortranarray(X) if fortran else X)
    a,b = view(open_memmap(fn)),view(X)
    rows = np.random.default_rng(1).permutation(len(b))[:max(len(b)*4//5, 1)]
    for idxs in (None, rows, np.sort(rows), np.arange(len(b))%2==0, slice(1) ):
        c = b if idxs is None else b[idxs]
        c3 = c[:,None,None] if c.ndim==1 else c[:,None] if c.ndim==2 else c
        axes = tuple(i for i,nm in enumerate(('sample','var','step')) if nm not in ([by] if isinstance(by,str) else by))
        st = memmap_stats(a, idxs, by=by)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            np.testing.assert_allclose(st.mean, np.nanmean(c3, axes), rtol=1e-13)
            np.testing.assert_allclose(st.std, np.nanstd(c3, axes), rtol=1e-11, atol=1e-13)
            np.testing.assert_array_equal(st.min, np.nanmin(c3, axes)); np.testing.assert_array_equal(st.max, np.nanmax(c3, axes))
        np.testing.assert_array_equal(st.nans, np.isnan(c3).sum(axes)); assert st.rows==len(c)

@pytest.mark.parametrize('size', [300,2**18])
def test_rows_longer_than_a_block(size, monkeypatch):
    monkeypatch.setattr(scan, '_block_shape', lambda shape, _, lead=1, f=scan._block_shape: f(shape, size, lead))
    X = np.random.default_rng(0).normal(1e6, 1, (11,3,400))
    for by,axes in (('var',(0,2)), (('var','step'),0), ('sample',(1,2)), ('all',None)):
        st = memmap_stats(X, by=by)
        np.testing.assert_allclose(st.mean, X.mean(axes), rtol=1e-15); np.testing.assert_allclose(st.std, X.std(axes), rtol=1e-9)

def test_extremes():
    for dtype in ('i8','u8','i1','?'):
        top,low = (1,0) if dtype=='?' else (np.iinfo(dtype).max,np.iinfo(dtype).min)
        st = memmap_stats(np.array([[low],[top],[low],[top]], dtype), by='all')
        assert (int(st.min),int(st.max))==(low,top) and math.isclose(st.mean, (low+top)/2, abs_tol=.5) and math.isclose(st.std, (top-low)/2, rel_tol=1e-15)
    X = np.ones((10,5,1)); X[0,1],X[1,2],X[2,3],X[3,3],X[:,4] = np.inf,-np.inf,np.inf,-np.inf,np.nan
    st = memmap_stats(X)
    with np.errstate(all='ignore'): np.testing.assert_array_equal(st.mean[:4], X.mean((0,2))[:4])
    assert st.mean.tolist()[:3]==[1,np.inf,-np.inf] and np.isnan(st.mean[3:]).all() and st.std[0]==0 and np.isnan(st.std[1:]).all()
    assert st.count.tolist()==[10,10,10,10,0] and st.nans.tolist()==[0,0,0,0,10] and np.isnan(st.min[4])
    assert memmap_stats(np.full((999,1,7), .1)).std[0]==0

def old(fn): os.utime(fn, ns=(0,10**18)); return fn

def test_kept(saved, monkeypatch):
    X = np.random.default_rng(0).normal(size=(100,3,20)).astype('f4'); X[:,2] = np.nan; X[0,1,0] = np.inf
    fn = old(saved(X))
    kept = fn.with_name('X.npy.stats.json')
    def ask(a=None, **kw): return memmap_stats(open_memmap(fn) if a is None else a, **kw)
    first = ask()
    json.loads(kept.read_text(), parse_constant=lambda c: pytest.fail(f'{c} is not JSON'))
    n = [0]
    monkeypatch.setattr(stats_mod, '_scan', lambda *a, f=stats_mod._scan: n.__setitem__(0, n[0]+1) or f(*a))
    again = ask()
    assert n==[0]
    for k in ('count','nans','mean','std','min','max'):
        a,b = getattr(first,k),getattr(again,k)
        assert a.dtype==b.dtype; np.testing.assert_array_equal(a, b)
    for i,kw in enumerate([dict(by='step'), dict(idxs=range(50)), dict(idxs=range(51)), dict(a=open_memmap(fn)[:,:2]), dict(a=open_memmap(fn)[:,1:]), dict(a=open_memmap(fn).view('i4'))], 1): ask(**kw); assert n==[i]
    ask(idxs=np.arange(50)[::-1]); ask(idxs=np.arange(100)); assert n==[6]
    assert len(json.loads(kept.read_text()))==7
    os.utime(fn, ns=(0,10**18+10**9)); ask(); assert n==[7] and len(json.loads(kept.read_text()))==1
    for k in range(40): ask(idxs=[k])
    assert len(json.loads(kept.read_text()))<=16
    kept.write_text('{"not": "ours"'); ask(); ask(); assert n==[48]
    assert not [p for p in fn.parent.iterdir() if 'part' in p.name]

def test_not_kept(saved):
    X = np.ones((10,2,3))
    fn = saved(X); memmap_stats(open_memmap(fn)) # written this instant: a later change might not show
    old(fn)
    for mode in ('r+','c'): memmap_stats(open_memmap(fn, mode))
    memmap_stats(X)
    assert [p.name for p in fn.parent.iterdir()]==['X.npy']
    fn.with_name('X.npy.stats.json').mkdir() # can't be written
    assert memmap_stats(fn).mean.tolist()==[1,1]
    assert sorted(p.name for p in fn.parent.iterdir())==['X.npy','X.npy.stats.json']

@pytest.mark.skipif(sys.platform=='win32', reason='Windows truncates no file that is mapped')
def test_truncated_after_it_was_opened(saved):
    fn = saved(np.zeros((1000,2,50)))
    code = f"""
from memmap_ts.all import *
from memmap_ts.stats import memmap_stats
import os
a = open_memmap({str(fn)!r}); os.truncate({str(fn)!r}, 1000)
try: memmap_stats(a)
except OSError as e: print(e)"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'truncated while it was read' in r.stdout, r.stderr

def test_same_digits_each_time(monkeypatch):
    monkeypatch.setattr(scan, '_step', 2**12)
    X = np.random.default_rng(0).normal(7, 2, (20_000,3,10))
    assert len({memmap_stats(X).std.tobytes() for _ in range(10)})==1

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells anonymous memory (RssAnon)')
def test_memory(tmp_path):
    (tmp_path/'run.py').write_text(textwrap.dedent('''
        import sys, numpy as np
        from memmap_ts.all import *
        from memmap_ts.bench.reading import watch_memory
        memmap_stats(np.ones((10,2,3)))
        X = create_memmap(sys.argv[1], (5000,50,512))
        print(watch_memory(lambda: [memmap_stats(X, idxs, by, progress=False) for idxs in (None,np.arange(0,5000,3)) for by in ('var',('var','step'))], .005)[1])'''))
    r = subprocess.run([sys.executable, tmp_path/'run.py', tmp_path/'X.npy'], capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    assert int(r.stdout) < 200e6

@pytest.fixture
def wild(saved):
    "X whose validation rows are far off, y, splits"
    rng = np.random.default_rng(0)
    X = rng.normal([[0],[5],[100]], [[1],[2],[10]], (300,3,20)).astype('f4')
    splits = [np.sort(s) for s in np.split(rng.permutation(300), [240])]
    X[splits[1]] = 1e6
    return saved(X),saved(np.arange(300)%3, 'y.npy'),splits,X[splits[0]].astype('f8')

def fitted(wild, *tfms, **kw):
    dls = TSDataLoaders.from_memmap(*wild[:2], splits=wild[2], batch_tfms=list(tfms), bs=8, **kw)
    return dls,dls.train.after_batch.fs

@pytest.mark.parametrize('kw,axes', [({},(0,1,2)), (dict(by_var=True),(0,2)), (dict(by_step=True),(0,1)), (dict(by_var=True,by_step=True),0), (dict(by_var=True,use_single_batch=False),(0,2))])
def test_standardize_and_normalize(wild, kw, axes):
    X,mine = wild[3],TSStandardize(**kw)
    dls,(t,) = fitted(wild, mine)
    np.testing.assert_allclose(t.mean, X.mean(axes, keepdims=True), rtol=1e-5); np.testing.assert_allclose(t.std, X.std(axes, keepdims=True), rtol=1e-5)
    assert mine.mean is None and t.mean.dtype==torch.float32 and dls.one_batch()[0].dtype==torch.float32
    _,(t,) = fitted(wild, TSNormalize(**kw))
    np.testing.assert_array_equal(t.min, X.min(axes, keepdims=True)); np.testing.assert_array_equal(t.max, X.max(axes, keepdims=True))

def test_parameters_are_respected(wild):
    X = wild[3]
    _,(t,) = fitted(wild, TSStandardize(by_var=[0,[1,2]], exc_vars=[0], split_idx=0))
    np.testing.assert_allclose(t.mean.ravel(), [0,X[:,1:].mean(),X[:,1:].mean()], rtol=1e-5); np.testing.assert_allclose(t.std.ravel(), [1,X[:,1:].std(),X[:,1:].std()], rtol=1e-5)
    assert t.split_idx==0
    _,(t,) = fitted(wild, TSNormalize(range=(0,3), by_var=[1], clip_values=False))
    assert t.min.ravel().tolist()==[0,np.float32(X[:,1].min()),0] and t.max.ravel()[0]==3 and not t.clip_values
    for own in (TSStandardize(by_sample=True), TSStandardize(mean=[1.], std=[2.])): assert fitted(wild, own)[1][0] is own
    _,(t,) = fitted(wild, TSRobustScale(quantile_range=(10,90), exc_vars=[0]))
    q = np.percentile(X, [10,90], axis=(0,2))
    np.testing.assert_allclose(t.median.ravel(), [0,*np.median(X, (0,2))[1:]], rtol=1e-4); np.testing.assert_allclose(t.iqr.ravel(), [1,*4*(q[1]-q[0])[1:]], rtol=1e-4)
    _,(t,) = fitted(wild, TSClipOutliers())
    lo,hi = np.percentile(X, [25,75]); np.testing.assert_allclose([t.min,t.max], [lo-1.5*(hi-lo),hi+1.5*(hi-lo)], rtol=1e-4)

def test_same_as_tsai_on_one_batch_of_all(wild):
    from tsai.data.core import TSTensor
    from fastai.data.load import DataLoader
    class DL(DataLoader):
        def __init__(self): self.device = torch.device('cpu')
        def one_batch(self): return (TSTensor(torch.tensor(wild[3], dtype=torch.float32)),)
    for make,names in ((lambda: TSStandardize(by_var=[0,[1,2]], by_step=True), ('mean',)), (lambda: TSNormalize(by_var=[[0,2]]), ('min','max')), (lambda: TSRobustScale(exc_vars=[1]), ('median','iqr')), (lambda: TSClipOutliers(use_single_batch=True), ('min','max'))):
        theirs = make(); theirs.setups(DL())
        _,(ours,) = fitted(wild, make())
        for k in names: np.testing.assert_allclose(getattr(ours,k), getattr(theirs,k), rtol=1e-4, atol=1e-4)

def test_what_comes_before_changes_the_samples(wild):
    from fasttransform import Transform
    class Twice(Transform):
        def encodes(self, o:torch.Tensor): return o*2
    for tfms,kw in (([TSNan2Value(),TSStandardize()],{}), ([TSStandardize()],dict(item_tfms=Twice())), ([TSStandardize()],dict(tfms=[[Twice()],None]))):
        with pytest.warns(UserWarning, match='one batch'): fitted(wild, *tfms, **kw)
    with pytest.raises(ValueError, match='use_single_batch=True'): fitted(wild, TSNan2Value(), TSStandardize(use_single_batch=False))
    with pytest.warns(UserWarning, match="dtype='int32'"): fitted(wild, TSNormalize(), dtype='int32')

def test_values_are_kept(wild, tmp_path):
    dls,(t,) = fitted(wild, TSStandardize(by_var=True))
    X = np.load(wild[0])[:5]
    want = (X-t.mean.numpy())/t.std.numpy()
    np.testing.assert_allclose(dls.test_dl(X).one_batch()[0], want, rtol=1e-5)
    learn = ts_learner(dls, 'FCN'); learn.path = tmp_path
    learn.export('l.pkl')
    again = load_learner(tmp_path/'l.pkl')
    np.testing.assert_allclose(again.dls.test_dl(X).one_batch()[0], want, rtol=1e-5)

linux = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells which file is mapped')

@linux
def test_not_kept_for_a_file_that_was_replaced(saved):
    "Numbers of the file that is mapped are not those of the one that has its name now"
    fn = saved(np.zeros((100,2,5)))
    old(fn)
    X = open_memmap(fn)
    to_memmap(np.full((100,2,5), 7.), fn, overwrite=True)
    old(fn)
    assert (memmap_stats(X).mean==0).all() and (memmap_stats(fn).mean==7).all() and (memmap_stats(X).mean==0).all()

@linux
def test_not_kept_while_somebody_may_write(tmp_path):
    "A page that waits for the disk may be written again without a change of the file's time"
    fn = tmp_path/'X.npy'
    w = create_memmap(fn, (100,2,5))
    for v in 1,5:
        w[:] = v
        time.sleep(.1)
        assert (memmap_stats(fn).mean==v).all()
    assert not (tmp_path/'X.npy.stats.json').exists()

@linux
def test_written_by_another_process(tmp_path):
    "Its pages are put on the disk first; then a later write shows in the file's time"
    if not os.major(os.stat(tmp_path).st_dev): pytest.skip('the temporary folder is in memory, or not a disk of this machine: there the time of a file does not tell')
    fn = tmp_path/'X.npy'
    code = f"import sys; from memmap_ts.all import *; w = create_memmap({str(fn)!r}, (100,2,5))\nfor v in 1,5: w[:] = v; print(flush=True); sys.stdin.readline()"
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for v in 1,5:
        p.stdout.readline()
        time.sleep(.1)
        assert (memmap_stats(fn).mean==v).all()
        p.stdin.write('\n'); p.stdin.flush()
    assert p.wait()==0

def test_another_file_with_the_same_time(saved):
    "Archives, and stores of versions, set the time of what they unpack"
    fn,new = saved(np.zeros((100,2,5))),saved(np.ones((100,2,5)), 'new.npy')
    old(fn); old(new)
    memmap_stats(fn)
    os.replace(new, fn)
    assert (memmap_stats(fn).mean==1).all()

def test_damaged_cache(saved):
    fn = saved(np.ones((100,2,5)))
    old(fn)
    memmap_stats(fn)
    kept = fn.with_name('X.npy.stats.json')
    for k in 'mean','n','shape':
        res = json.loads(kept.read_text())
        del res[0][k]
        kept.write_text(json.dumps(res))
        assert (memmap_stats(fn).mean==1).all()

def test_squares_beyond_float64():
    X = np.arange(1000.).reshape(100,2,5)
    X[3,0,2] = 1e200
    st = memmap_stats(X)
    assert np.isinf(st.std[0]) and abs(st.std[1]/X[:,1].std()-1)<1e-12
