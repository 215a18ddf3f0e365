"Small rows of an array that fits in memory: all of it is read in order, beside an epoch that goes on"
import gc, os, pickle, subprocess, sys, textwrap, threading, time, numpy as np, pytest, torch
from fastai.data.block import RegressionBlock
from memmap_ts.all import *
from memmap_ts import read
from memmap_ts.bench import _evict, _gone
from memmap_ts.read import RowReader

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def at_once(monkeypatch): monkeypatch.setattr(read, '_patience', 0)

@pytest.fixture
def begun(monkeypatch):
    "Sweeps that have begun"
    res,run = [],read._Sweep.run
    monkeypatch.setattr(read._Sweep, 'run', lambda self: (res.append(self), run(self)))
    return res

@pytest.fixture
def slow(monkeypatch):
    "A sweep of 10 MB takes a minute"
    preadv = os.preadv
    monkeypatch.setattr(read, '_chunk', 2**14)
    monkeypatch.setattr(os, 'preadv', lambda fd, bufs, *args: (len(bufs[0])==2**14 and time.sleep(.1), preadv(fd, bufs, *args))[1])

def cold(fn):
    a = open_memmap(fn)
    _evict(fn)
    return a

def ended(sweeps):
    for o in sweeps: o.join(20)
    return not any(o.is_alive() for o in sweeps)

@pytest.mark.parametrize('row,n,rows,want', [(400,80_000,80_000,True), (400,80_000,8000,True), (400,80_000,3000,False), (4096,8000,8000,True), (4096,8000,1000,False), (40_960,800,800,False)],
    ids=['all','few rows of nearly all pages','few pages','pages','few of them','large rows'])
def test_when(saved, row, n, rows, want):
    r = RowReader(cold(saved(np.zeros((n,row), 'u1'))))
    r.start()
    assert bool(r.scattered(rows))==want
    np.array(r.a); r.start()
    assert r.warm and not r.scattered(rows)

def test_windows(saved):
    "Large windows that overlap want each part of the file many times; those of many variables come in small pieces"
    fn = saved(rng.normal(size=(50_000,16)).astype('f4'))
    for length,stride,want in ((200,1,True), (2000,1,True), (2000,None,False)):
        X,y = [o.row_reader() for o in windows(fn, length, stride, horizon=5)]
        _evict(fn)
        X.start(); y.start()
        assert bool(X.scattered(X.n))==want
        if want: assert X.scattered(X.n) is y.scattered(y.n) # read by one engine
    X = windows(saved(rng.normal(size=(40,20_000)).astype('f4'), 'T.npy'), 1000, None, seq_first=False)[0].row_reader()
    X.engine.warm = False
    assert X.scattered(X.n)

def loader(fn, n=20_000, bs=64, **kw):
    dls = TSDataLoaders.from_memmap(open_memmap(fn), np.arange(n), splits=(range(n),), y_block=RegressionBlock(), bs=bs, drop_last=False, **kw)
    _evict(fn)
    return dls

@pytest.fixture
def file(saved): return saved(rng.normal(size=(20_000,2,100)).astype('f4'))

@pytest.mark.parametrize('prefetch', [0,2])
@pytest.mark.parametrize('bs', [7,64,1024])
def test_epochs(file, begun, bs, prefetch):
    "Every row once, before, while and after the array comes into memory"
    X = np.load(file)
    dls = loader(file, bs=bs, prefetch=prefetch)
    for _ in range(2):
        x,y = map(torch.cat, zip(*dls.train))
        i = y.long().numpy()
        assert sorted(i)==list(range(len(X)))
        np.testing.assert_array_equal(x.numpy(), X[i])
    assert ended(begun) and len(begun)==1

def test_then_it_is_warm(file, begun):
    dls = loader(file)
    it = iter(dls.train); next(it)
    assert ended(begun)
    r = dls.train_ds.tls[0].items._reader(0)
    assert r.warm and _gone(file)==0
    n = sum(len(x) for x,y in it)
    assert n==20_000-64 and len(begun)==1 and (r.complete or r.cached(np.arange(20_000), 500)<1)

@pytest.mark.parametrize('kw', [dict(partial_n=500), dict(partial_n=.01), dict(sampler=list(range(500)))], ids=str)
def test_few_of_the_rows(file, begun, kw):
    "An epoch of a part of the samples leaves the rest where it is"
    assert sum(len(x) for x,y in loader(file, **kw).train) and not begun

def test_when_not(file, begun, monkeypatch):
    "Nor if rows come in order, if there is little memory or nobody knows, in worker processes, or at once"
    dls = loader(file)
    for x,y in dls.train.new(shuffle=False): pass
    for free in (1e7,0):
        _evict(file)
        monkeypatch.setattr(read, '_free', lambda: free)
        for x,y in dls.train: pass
    monkeypatch.undo()
    monkeypatch.setattr(read._Sweep, 'run', lambda self: os._exit(1))
    assert sum(len(x) for x,y in loader(file, num_workers=2).train)==20_000
    assert not begun

def test_not_at_once(file, monkeypatch):
    monkeypatch.setattr(read, '_patience', 60)
    it = iter(loader(file).train); next(it)
    t = next(t for t in threading.enumerate() if isinstance(t, read._Sweep))
    it.close()
    t.join(20)
    assert not t.is_alive() and _gone(file)>.5

def test_in_vain(file, begun, monkeypatch):
    "Where the array does not get into memory, or the system does not tell, it is not tried again"
    monkeypatch.setattr(RowReader, '_is_warm', lambda self: False)
    dls = loader(file)
    for _ in range(3):
        it = iter(dls.train); next(it)
        assert ended(begun)
        it.close()
    assert len(begun)==1

def test_leaving_early(file, begun, slow):
    "No thread, no open file, no reading remains"
    dls,files = loader(file),None
    for i in range(5):
        _evict(file)
        it = iter(dls.train); next(it); next(it)
        assert begun[i].is_alive()
        it.close()
        assert ended(begun)
        files = files or len(os.listdir('/proc/self/fd'))
    assert len(os.listdir('/proc/self/fd'))==files and _gone(file)>.1 # but for what was hinted

def test_several_at_once(file, begun, slow):
    "An epoch that ends leaves that of another iterator alone"
    dls = loader(file)
    one,two = iter(dls.train),iter(dls.train)
    next(one); next(two)
    two.close()
    assert len(begun)==2 and ended(begun[1:]) and begun[0].is_alive()
    pickle.dumps(dls.train)
    one.close()
    assert ended(begun)

def test_truncated(file, begun, slow):
    it = iter(loader(file).train); next(it)
    os.truncate(file, 10**6)
    with pytest.raises(OSError, match='was truncated'): list(it)
    assert begun and ended(begun)

def test_no_more_threads(file, monkeypatch):
    dls = loader(file, prefetch=0)
    def start(self): raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, 'start', start)
    assert sum(len(x) for x,y in dls.train)==20_000

def test_python_ends_meanwhile(file):
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(f'''
        import os, time, threading, numpy as np
        from memmap_ts.all import *
        from memmap_ts import read
        from memmap_ts.bench import _evict
        read._patience,read._chunk,preadv = 0,2**14,os.preadv
        os.preadv = lambda fd, bufs, *args: (len(bufs[0])==2**14 and time.sleep(.1), preadv(fd, bufs, *args))[1]
        dls = TSDataLoaders.from_memmap({str(file)!r}, np.arange(20_000)%3, splits=(range(20_000),), bs=64)
        _evict({str(file)!r})
        it = iter(dls.train); next(it); next(it)
        print(any(isinstance(t, read._Sweep) for t in threading.enumerate()))''')], capture_output=True, text=True, timeout=120)
    assert r.returncode==0 and r.stdout=='True\n' and not r.stderr, r.stdout+r.stderr
