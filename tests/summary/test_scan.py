"One pass over arrays of any order, and over any other source of rows"
import os, warnings, numpy as np, pytest
from math import prod
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from memmap_ts.all import *
from memmap_ts.data.contract import SourceReader
from memmap_ts.data.source import Source
from memmap_ts.io.file import MappedFile
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system
from memmap_ts.summary.scan import scan_array
from memmap_ts.summary.subject import WindowsSubject
from forked import run
from summaries import stats_of

@pytest.mark.parametrize('by', ['var','step','sample','all',('var','step'),('sample','var')])
@pytest.mark.parametrize('view', [
    lambda X: X, lambda X: X[:,:3], lambda X: X[::-2,:,1::2], lambda X: X[:,0], lambda X: X.T, lambda X: X[3:4],
    lambda X: X[:,0,0]])
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
            close(st.mean, np.nanmean(c3, axes), rtol=1e-13)
            close(st.std, np.nanstd(c3, axes), rtol=1e-11, atol=1e-13)
            equal(st.min, np.nanmin(c3, axes))
            equal(st.max, np.nanmax(c3, axes))
        equal(st.nans, np.isnan(c3).sum(axes))
        assert st.rows==len(c)

@pytest.mark.parametrize('size', [300,2**18])
def test_rows_longer_than_a_block(size):
    X = np.random.default_rng(0).normal(1e6, 1, (11,3,400))
    for by,axes in (('var',(0,2)), (('var','step'),0), ('sample',(1,2)), ('all',None)):
        st = stats_of(X, by=by, n_values=size)
        close(st.mean, X.mean(axes), rtol=1e-15)
        close(st.std, X.std(axes), rtol=1e-9)

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells which file is mapped')
@pytest.mark.parametrize('shape', [(4000,4),(4000,),(4000,4,1)])
def test_rows_of_a_few_bytes_are_read_together(shape, saved, monkeypatch):
    "In one call for each block, all rows, every second one, or runs of them"
    x,calls = np.arange(prod(shape), dtype='f4').reshape(shape),[]
    a = open_memmap(saved(x))
    monkeypatch.setattr(MappedFile, 'read_into', lambda *args, read=MappedFile.read_into: calls.append(1) or read(*args))
    monkeypatch.setattr(MappedFile, 'read_pieces', lambda self, offsets, *args, read=MappedFile.read_pieces: calls.extend(offsets) or read(self, offsets, *args))
    for rows,most in ((None,1), (np.arange(0, 4000, 2),1), (np.r_[:100,2000:2100,3900:4000],3)):
        calls.clear()
        assert stats_of(a, rows, 'all').mean==x[slice(None) if rows is None else rows].mean(dtype='f8')
        assert 0<len(calls)<=most

def test_one_variable_is_read_at_once(saved, monkeypatch):
    "Not value by value: the stride of an axis of one value may be any"
    def no(*args): raise AssertionError('read in pieces')
    monkeypatch.setattr('memmap_ts.io.file.MappedFile.read_many', no)
    a = np.random.default_rng(0).normal(size=5000)
    for kw in (dict(), dict(seq_first=True)):
        W,_ = windows(saved(a), 20, **kw)
        close(memmap_stats(W, range(4000), progress=False).mean, W[list(range(4000))].mean(), rtol=1e-12)

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells which file is mapped')
def test_truncated_after_it_was_opened(saved):
    fn = saved(np.zeros((1000,2,50)))
    code = f"""
from memmap_ts.all import *
from memmap_ts.stats import memmap_stats
import os
a = open_memmap({str(fn)!r}); os.truncate({str(fn)!r}, 1000)
try: memmap_stats(a)
except OSError as e: print(e)"""
    r = run(code)
    assert 'truncated while it was read' in r.stdout, r.stderr

def test_same_digits_each_time(monkeypatch):
    "Whichever thread comes first"
    monkeypatch.setattr('torch.get_num_threads', lambda: 3)
    X = np.random.default_rng(0).normal(7, 2, (20_000,3,10))
    assert len({stats_of(X, step_bytes=2**12).std.tobytes() for _ in range(10)})==1

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
def test_memory(tmp_path):
    code = '''
        import sys, numpy as np
        from memmap_ts.all import *
        from memmap_ts.testing import watch_memory
        memmap_stats(np.ones((10,2,3)))
        X = create_memmap(sys.argv[1], (5000,50,512))
        def go():
            for idxs in (None,np.arange(0,5000,3)):
                for by in ('var',('var','step')): memmap_stats(X, idxs, by, progress=False)
        print(watch_memory(go, .005)[1])'''
    r = run(code, tmp_path/'X.npy')
    assert r.returncode==0, r.stderr
    assert int(r.stdout) < 200e6

class Toy(Source):
    "Rows worked out as they are asked for"
    def __init__(self, a): self.a,self.shape,self.dtype = a,a.shape,a.dtype
    def row(self, i): return self.a[i].copy()

@pytest.mark.parametrize('by', ['var','step','sample','all',('var','step'),('sample','var')])
@pytest.mark.parametrize('shape', [(700,5,6),(700,6),(700,)])
def test_any_source(by, shape):
    "The same digits as an array of these rows, whichever rows are asked for"
    X = np.random.default_rng(0).normal(5, 2, shape)
    X[::7] = np.nan
    for idxs in (None, slice(5,90), np.random.default_rng(1).permutation(700)[:200], np.arange(700)%2==0):
        for sizes in ({}, dict(n_values=64, step_bytes=2**10)):
            a,b = stats_of(Toy(X), idxs, by, **sizes),stats_of(X, idxs, by, **sizes)
            assert a.rows==b.rows
            for k in ('count','nans','mean','std','min','max'):
                equal(getattr(a, k), getattr(b, k))
                assert np.asarray(getattr(a, k)).dtype==np.asarray(getattr(b, k)).dtype

def test_rows_of_a_source_are_made_once():
    "Also those that are larger than a block"
    made = []
    class Counted(Toy):
        def row(self, i):
            made.append(i)
            return super().row(i)
    stats_of(Counted(np.zeros((9,3,50))), n_values=40)
    assert sorted(made)==list(range(9))

def test_odd_sources():
    "What is no number, or has too many axes, is an error as for an array"
    with pytest.raises(TypeError, match='real numbers'): memmap_stats(Toy(np.array(['a','b'])))
    with pytest.raises(ValueError, match='(samples, vars, steps)'): memmap_stats(Toy(np.zeros((2,2,2,2))))
    with pytest.raises(ValueError, match='no values'): memmap_stats(Toy(np.zeros((5,2))), [])

def test_an_error_of_a_source():
    "Is raised where the statistics are asked for, and leaves no thread behind"
    import threading
    class Broken(Toy):
        def row(self, i): raise OSError('gone')
    before = threading.active_count()
    with pytest.raises(OSError, match='gone'): memmap_stats(Broken(np.zeros((5,2))))
    assert threading.active_count()==before

def test_a_source_whose_file_somebody_writes_to(saved):
    "While its last row is read: its reader knows, and is asked"
    fn = saved(np.zeros((5,3,2)))
    class Reader(SourceReader):
        was = os.stat(fn).st_mtime_ns
        def check_unchanged(self):
            if os.stat(fn).st_mtime_ns!=self.was: raise OSError('X.npy was written to')
    class OnFile(Toy):
        def row(self, i):
            if i==4: os.utime(fn, ns=(0,1))
            return super().row(i)
        def reader(self): return Reader(self)
    with pytest.raises(OSError, match='was written to'): memmap_stats(OnFile(open_memmap(fn)))

@pytest.mark.parametrize('make', [lambda X,saved: X, lambda X,saved: np.asfortranarray(X), lambda X,saved: open_memmap(saved(X))],
                         ids=['RAM','Fortran','file'])
def test_some_rows(make, saved):
    X = np.random.default_rng(0).normal([[0],[5],[1e8]], [[1],[2],[1]], (1000,3,50)); X[::10,0,:5] = np.nan
    a,some = make(X, saved),np.sort(np.random.default_rng(1).choice(1000, 800, replace=False))
    for rows in (some, np.array([3]), np.arange(10,20)):
        got = scan_array(a, rows, [1], False)
        close(got[3], np.nanstd(X[rows], (0,2), keepdims=True), atol=1e-9)
        equal(got[5], np.nanmax(X[rows], (0,2), keepdims=True))

def test_windows_narrowed_without_row_numbers():
    "An ascending range of windows is windows again; a range that is not valid is left for the check of indices"
    W,_ = windows(np.arange(100.), 9)
    part,rows = WindowsSubject(W).part(slice(10,None,2))
    assert rows is None and part.shape==(41,1,9)
    assert WindowsSubject(W).part(range(3,999))[1]==range(3,999)
    equal(WindowsSubject(windows(np.zeros((9,3)), 2, get_x=[2,0])[0]).ids[3], [2,0])
