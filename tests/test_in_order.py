"Small rows of an array that fits in memory: all of it is read in order, beside an epoch that goes on"
import gc, os, subprocess, sys, textwrap, threading, time, numpy as np, pytest, torch
from fastai.data.block import RegressionBlock
from memmap_ts.all import *
from memmap_ts import read
from memmap_ts.bench import _evict, _gone
from memmap_ts.read import RowReader

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def at_once(monkeypatch): monkeypatch.setattr(read, '_patience', 0)

def cold(fn):
    a = open_memmap(fn)
    _evict(fn)
    return a

def sweeps(): return [t for t in threading.enumerate() if isinstance(t, read._Sweep)]

def until(f):
    end = time.monotonic()+20
    while not f() and time.monotonic()<end: time.sleep(.01)
    return f()

@pytest.mark.parametrize('row,n,rows,free,want', [(400,80_000,None,1e9,True), (400,80_000,8000,1e9,True), (400,80_000,3000,1e9,False), (4096,8000,8000,1e9,True), (4096,8000,1000,1e9,False), (40_960,800,800,1e9,False),
    (400,80_000,None,6e7,False), (400,80_000,None,0,False)], ids=['all','few rows of nearly all pages','few pages','pages','few of them','large rows','little memory','nobody knows'])
def test_when(saved, monkeypatch, row, n, rows, free, want):
    monkeypatch.setattr(read, '_free', lambda: free)
    r = RowReader(cold(saved(np.zeros((n,row), 'u1'))))
    r.start(rows)
    r.hint(np.arange(64)); r.hint(np.array([1,1,5]))
    assert r.sweep is None # these are in order
    r.hint(np.array([5,1]))
    assert (r.sweep is not None)==want
    r.stop()

def test_not_at_once(saved, monkeypatch):
    monkeypatch.setattr(read, '_patience', .3)
    r = RowReader(cold(saved(np.zeros((80_000,100), 'f4'))))
    r.start()
    r.hint(np.array([5,1]))
    assert not r.sweep
    time.sleep(.3)
    r.hint(np.array([5,1]))
    assert r.sweep
    r.stop()

def test_then_it_is_warm(saved):
    fn = saved(rng.normal(size=(80_000,100)).astype('f4'))
    a = cold(fn)
    assert _gone(fn)>.9
    r = RowReader(a)
    r.start()
    assert not r.warm
    idxs = rng.permutation(80_000)[:64]
    r.hint(idxs)
    r.sweep.join(20)
    r.hint(idxs)
    assert r.warm and not r.sweep and r.since is None and r.complete
    np.testing.assert_array_equal(r.read(idxs, np.empty((64,100), 'f4')), a[idxs])
    r.hint(idxs)
    assert not sweeps() # once

def test_stopped(saved, monkeypatch):
    monkeypatch.setattr(read, '_chunk', 2**12)
    fn = saved(np.zeros((800_000,100), 'f4'))
    r = RowReader(cold(fn))
    r.start(); r.hint(np.array([5,1]))
    t = r.sweep
    r.stop()
    t.join(20)
    assert not t.is_alive() and _gone(fn)>.5
    r.hint(np.array([5,1]))
    assert not r.sweep

@pytest.mark.parametrize('prefetch', [0,2])
def test_epochs(saved, prefetch):
    "Every row once, before, while and after the array comes into memory"
    X = rng.normal(size=(20_000,2,50)).astype('f4')
    fn = saved(X)
    for bs in (7,64,1024):
        a = open_memmap(fn)
        dls = TSDataLoaders.from_memmap(a, np.arange(len(X)), splits=(range(len(X)),), y_block=RegressionBlock(), bs=bs, drop_last=False, prefetch=prefetch)
        _evict(fn)
        for _ in range(2):
            x,y = map(torch.cat, zip(*dls.train))
            i = y.long().numpy()
            assert sorted(i)==list(range(len(X)))
            np.testing.assert_array_equal(x.numpy(), X[i])
        del a, dls; gc.collect()

def test_leaving_early(saved, monkeypatch):
    "No thread, no file is left open"
    monkeypatch.setattr(read, '_chunk', 2**12)
    fn = saved(rng.normal(size=(100_000,1,100)).astype('f4'))
    dls = TSDataLoaders.from_memmap(open_memmap(fn), np.arange(100_000)%3, splits=(range(100_000),), bs=64)
    files = None
    for _ in range(20):
        _evict(fn)
        it = iter(dls.train); next(it); next(it); it.close()
        assert until(lambda: not sweeps())
        files = files or len(os.listdir('/proc/self/fd'))
    assert len(os.listdir('/proc/self/fd'))==files

def test_truncated(saved, monkeypatch):
    monkeypatch.setattr(read, '_chunk', 2**12)
    fn = saved(rng.normal(size=(100_000,1,100)).astype('f4'))
    dls = TSDataLoaders.from_memmap(cold(fn), np.arange(100_000)%3, splits=(range(100_000),), bs=64)
    it = iter(dls.train); next(it)
    os.truncate(fn, 10**6)
    with pytest.raises(OSError, match='was truncated'): list(it)
    assert until(lambda: not sweeps())

def test_windows(saved):
    "Also of large windows, which overlap: they want each part of the file many times"
    fn = saved(rng.normal(size=(50_000,16)).astype('f4'))
    for length,stride,free,want in ((200,1,1e9,True), (2000,1,1e9,True), (2000,None,1e9,False), (200,1,1e6,False)):
        read._free,old = (lambda: free),read._free
        try:
            r = windows(fn, length, stride)[0].row_reader()
            _evict(fn)
            r.start()
            r.hint(np.array([9,3]))
        finally: read._free = old
        assert (r.engine.sweep is not None)==want, (length,stride,free)
        if want:
            r.engine.sweep.join(20)
            r.hint(np.array([9,3]))
            assert r.warm
        r.stop()

def test_x_and_y_of_one_series(saved):
    "are read by one engine, in one sweep"
    fn = saved(rng.normal(size=(100_000,16)).astype('f4'))
    X,y = [o.row_reader() for o in windows(fn, 200, horizon=5)]
    _evict(fn)
    for r in (X,y): r.start(90_000)
    for _ in range(5):
        for r in (X,y): r.hint(np.array([9,3]))
    assert X.engine is y.engine and len(sweeps())<=1
    X.engine.sweep and X.engine.sweep.join(20)
    for _ in range(5):
        for r in (X,y): r.hint(np.array([9,3]))
    assert X.warm and y.warm and not sweeps()

def test_python_ends_meanwhile(saved):
    fn = saved(np.zeros((400_000,1,100), 'f4'))
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(f'''
        import numpy as np
        from memmap_ts.all import *
        from memmap_ts import read
        read._patience,read._chunk = 0,2**12
        dls = TSDataLoaders.from_memmap({str(fn)!r}, np.arange(400_000)%3, splits=(range(400_000),), bs=64)
        with open({str(fn)!r}) as f: read.os.posix_fadvise(f.fileno(), 0, 0, read.os.POSIX_FADV_DONTNEED)
        it = iter(dls.train); next(it); next(it)
        print(any(isinstance(t, read._Sweep) for t in read.threading.enumerate()))''')], capture_output=True, text=True, timeout=120)
    assert r.returncode==0 and r.stdout=='True\n' and not r.stderr, r.stderr
