"Small rows of an array that fits in memory: what an epoch wants of it is read in order, beside the epoch"
import gc, os, subprocess, sys, textwrap, threading, time, numpy as np, pytest, torch
from fastai.data.block import RegressionBlock
from fasttransform import Transform
from memmap_ts.all import *
from memmap_ts.io import reader as read
from memmap_ts.bench.reading import evict, share_evicted
from memmap_ts.io.reader import RowReader

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def at_once(monkeypatch): monkeypatch.setattr(read, '_patience', 0)

@pytest.fixture
def begun(monkeypatch):
    "Sweeps that have begun"
    res,run = [],read.Sweep.run
    monkeypatch.setattr(read.Sweep, 'run', lambda self: (res.append(self), run(self)))
    return res

@pytest.fixture
def slow(monkeypatch):
    "A sweep of 10 MB takes a minute"
    preadv = os.preadv
    monkeypatch.setattr(read, '_chunk', 2**14)
    monkeypatch.setattr(os, 'preadv', lambda fd, bufs, *args: (len(bufs[0])==2**14 and time.sleep(.1), preadv(fd, bufs, *args))[1])

def cold(fn):
    a = open_memmap(fn)
    evict(fn)
    return a

def ended(sweeps):
    for o in sweeps: o.join(20)
    return not any(o.is_alive() for o in sweeps)

def wants(r, rows, batch, n=None):
    "What `r` wants read in order for an epoch of `n` of `rows`, `batch` of them together"
    n = len(rows) if n is None else n
    some = rng.choice(rows, 256)
    r.start(n, some)
    return r.in_order(n, some, batch)

@pytest.mark.parametrize('row,n,rows,want', [(400,80_000,80_000,True), (400,80_000,8000,True), (400,80_000,3000,False), (4096,8000,8000,True), (4096,8000,1000,False), (40_960,800,800,False), (40_960,800,2000,False)],
    ids=['all','few rows of nearly all pages','few pages','pages','few of them','large rows','large rows, often'])
def test_when(saved, row, n, rows, want):
    r = RowReader(cold(saved(np.zeros((n,row), 'u1'))))
    every = np.arange(n)
    got = wants(r, every, rng.permutation(n)[:64], rows)
    assert bool(got)==want
    if want: assert got[0] is r and got[1]<n*row/20 and got[2]>n*row*.9
    assert not wants(r, every, every[:64], rows) and not wants(r, every, every[100:164][::-1], rows)
    np.array(r.a)
    assert not wants(r, every, rng.permutation(n)[:64], rows) and r.warm

def test_part(saved):
    "Of a split that is one piece of the array, that piece; of one that is many, all from the first to the last"
    r = RowReader(cold(saved(np.zeros((80_000,400), 'u1'))))
    for rows in (np.arange(60_000, 68_000), rng.choice(np.arange(60_000, 68_000), 4000, replace=False)):
        _,lo,n = wants(r, rows, rng.choice(rows, 64))
        assert 60_000*400<=lo<61_000*400 and 67_000*400<lo+n<=68_000*400
    rows = np.append(np.arange(4000), np.arange(76_000, 80_000))
    assert wants(r, rows, rng.choice(rows, 64))[2]>400*70_000 # most of the pages between are not wanted, but one read in ten is

def test_windows(saved):
    "Large windows that overlap want each part of the file many times; those of many variables come in small pieces"
    fn = saved(rng.normal(size=(50_000,16)).astype('f4'))
    for length,stride,want in ((200,1,True), (2000,1,True), (2000,None,False)):
        X,y = [o.row_reader() for o in windows(fn, length, stride, horizon=5)]
        evict(fn)
        every = np.arange(X.n)
        assert bool(wants(X, every, rng.choice(every, 64)))==want
        if want: assert wants(X, every, rng.choice(every, 64))[0] is wants(y, every, rng.choice(every, 64))[0] # read by one engine
    X = windows(fn, 200, 1)[0].row_reader()
    _,lo,n = wants(X, np.arange(30_000), rng.choice(30_000, 64))
    assert lo<64*2000 and 28_000*64<n<=30_200*64 # those of the first part of the series
    evict(fn) # asking brings pages there
    with open(fn, 'rb', 0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        f.read(30_300*64)
    for rows,warm in ((np.arange(30_000),True), (np.arange(35_000,49_000),False)):
        X.start(X.n, rows)
        assert X.warm==warm

@pytest.mark.parametrize('vars,want', [(None,400), ([200,201,202],3), ([100,300],None)], ids=['all','some','two far apart'])
def test_windows_of_variables(saved, vars, want):
    fn = saved(rng.normal(size=(400,20_000)).astype('f4'))
    X = windows(fn, 100, 1, get_x=vars, seq_first=False)[0].row_reader()
    evict(fn)
    got = wants(X, np.arange(X.n), rng.choice(X.n, 64))
    if want is None: assert got is None
    else: assert (want-1)*80_000<got[2]<=want*80_000 and (vars[0] if vars else 0)==got[1]//80_000

def loader(fn, n=20_000, bs=64, **kw):
    dls = TSDataLoaders.from_memmap(open_memmap(fn), np.arange(n), splits=(range(n),), y_block=RegressionBlock(), bs=bs, drop_last=False, **kw)
    evict(fn)
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

def ready(file):
    "Is all of it in memory, in a while?"
    for _ in range(200):
        if share_evicted(file)==0: return True
        time.sleep(.1)

def test_then_it_is_warm(file, begun, monkeypatch):
    monkeypatch.setattr(read, '_patience', .5)
    dls = loader(file)
    it = iter(dls.train); next(it)
    r = dls.train_ds.tls[0].items._reader(0)
    r.complete,r.again = False,time.monotonic()+1000 # it has looked, and need not soon
    assert ended(begun)
    assert r.warm and share_evicted(file)==0
    r.hint(np.arange(64))
    assert r.complete # and nobody looks again
    assert sum(len(x) for x,y in it)==20_000-64 and len(begun)==1

def there(r, *rows):
    "The share of rows from … to … that is in memory, without bringing any there"
    r.again = 0
    r._look()
    return r._pages(np.arange(*rows)*r.row, r.row)[1].mean()

def test_split(file, begun):
    "Only the part of the file that is trained on; the next epoch finds its own rows in memory"
    X = open_memmap(file)
    dls = TSDataLoaders.from_memmap(X, np.arange(20_000), splits=(range(8000,20_000),range(100)), y_block=RegressionBlock(), bs=64)
    evict(file)
    r = dls.train_ds.tls[0].items._reader(0)
    for i in range(2):
        it = iter(dls.train); next(it)
        assert ended(begun) and r.warm
        it.close()
        assert len(begun)==1 and there(r, 8000, 20_000)==1 and there(r, 7000)<.1
    for x,y in dls.valid: pass
    assert not r.warm or r.cached(np.arange(100), 100)==1

def test_view_of_a_larger_file(file, begun):
    X = open_memmap(file)[8000:]
    dl = MemmapDL(itemify(X, np.arange(12_000)), bs=64, shuffle=True)
    evict(file)
    it = iter(dl); next(it)
    assert ended(begun)
    r = RowReader(open_memmap(file))
    assert there(r, 8000, 20_000)==1 and there(r, 7500)<.01 # the system may read on at the end
    it.close()

@pytest.mark.parametrize('kw', [dict(partial_n=500), dict(partial_n=.01), dict(sampler=list(range(500)))], ids=str)
def test_few_of_the_rows(file, begun, kw):
    "An epoch of a part of the samples leaves the rest where it is"
    assert sum(len(x) for x,y in loader(file, **kw).train) and not begun

def test_order_of_the_rows(file, begun):
    "What counts is how the rows come, not who says so"
    order = rng.permutation(20_000)
    far = [MemmapDL(itemify(open_memmap(file)), bs=64, sampler=order.tolist()), MemmapDL(itemify(open_memmap(file)).shuffle(), bs=64),
           loader(file).train.new(get_idxs=lambda: order), loader(file).train.new(shuffle_fn=lambda idxs: order.tolist())]
    near = [MemmapDL(itemify(open_memmap(file)), bs=64, sampler=list(range(20_000))), loader(file).train.new(shuffle=False)]
    for i,dl in enumerate(far):
        evict(file)
        it = iter(dl); next(it); it.close()
        assert len(begun)==i+1
    for dl in near:
        evict(file)
        it = iter(dl); next(it); it.close()
        assert len(begun)==len(far)

@pytest.mark.skipif(sys.platform!='linux', reason='forks')
def test_workers(file):
    "One of them does it for all"
    dl = MemmapDL(itemify(open_memmap(file)), bs=4, shuffle=True, num_workers=2)
    evict(file)
    it = iter(dl); next(it)
    assert ready(file)
    assert sum(len(b[0]) for b in it)==20_000-4

def test_second_worker_leaves_it_to_the_first(file, begun, monkeypatch):
    from types import SimpleNamespace
    for id,n in ((1,0),(0,1)):
        monkeypatch.setattr('memmap_ts.load.get_worker_info', lambda: SimpleNamespace(id=id))
        it = iter(loader(file).train); next(it); it.close()
        assert len(begun)==n

def test_memory(saved, begun, monkeypatch):
    "What fits into half of what is free, the smaller first; the same file is read once"
    X,y = saved(np.zeros((10_000,1000), 'f4')),saved(np.zeros((10_000,400), 'f4'), 'y.npy')
    got,read_ = [],read.Sweep._read
    monkeypatch.setattr(read.Sweep, '_read', lambda self, r, *args: (got.append(r.fn), read_(self, r, *args))[1])
    for arrays,free,want in (((X,y), 115e6, [y,X]), ((X,y), 105e6, [y]), ((X,X), 200e6, [X]), ((X,y), 28e6, []), ((X,y), 0, [])):
        dl,it = MemmapDL(itemify(*map(open_memmap, arrays)), bs=64, shuffle=True),None
        gc.collect() # pages that are mapped can't be evicted
        for o in (X,y): evict(o)
        monkeypatch.setattr(read, '_free', lambda: free)
        it = iter(dl); next(it)
        assert ended(begun) and [*map(str, got)]==[*map(str, want)]
        it.close()
        got.clear(); begun.clear()

def test_not_at_once(file, monkeypatch):
    reads = []
    monkeypatch.setattr(read, '_patience', 60)
    monkeypatch.setattr(read.Sweep, '_read', lambda *args: reads.append(args))
    it = iter(loader(file).train); next(it)
    t = next(t for t in threading.enumerate() if isinstance(t, read.Sweep))
    it.close()
    t.join(20)
    assert not t.is_alive() and not reads

def test_in_vain(file, begun, monkeypatch):
    "Where the array does not get into memory, or the system does not tell, it is not tried again"
    monkeypatch.setattr(RowReader, 'cached', lambda self, *args: 0.)
    dls = loader(file)
    for _ in range(3):
        it = iter(dls.train); next(it)
        assert ended(begun)
        it.close()
    assert len(begun)==1

def test_leaving_early(file, begun, slow):
    "No thread, no open file, no reading remains"
    dls = loader(file)
    gc.collect() # loaders of other tests hold files
    files = len(os.listdir('/proc/self/fd'))
    for i in range(5):
        evict(file)
        it = iter(dls.train); next(it); next(it)
        assert begun[i].is_alive()
        it.close()
        assert ended(begun)
    assert len(os.listdir('/proc/self/fd'))<=files+1 and share_evicted(file)>.1 # but for what was hinted

def test_interrupted_at_the_start(file, begun, slow, monkeypatch):
    "Ctrl-C while the thread is being started"
    start = read.Sweep.start
    def interrupted(self): start(self); raise KeyboardInterrupt
    monkeypatch.setattr(read.Sweep, 'start', interrupted)
    it = iter(loader(file).train)
    with pytest.raises(KeyboardInterrupt): next(it)
    assert begun and ended(begun)

def test_cache_device(file, begun, slow):
    "Samples for the device are read the same way; after an error nobody reads on, though it is held"
    dl = MemmapDL(itemify(open_memmap(file)).shuffle(), bs=64, cache='device')
    evict(file)
    dl.one_batch()
    assert begun and ended(begun)
    class Double(Transform):
        def encodes(self, x): return x*2
    dls = loader(file, cache='device', item_tfms=Double())
    with pytest.raises(ValueError, match='applied once') as held: dls.train.one_batch()
    assert held and not [t for t in threading.enumerate() if t.name=='memmap_ts']

def test_several_at_once(file, begun, slow):
    "An epoch that ends leaves that of another iterator alone"
    dls = loader(file)
    one,two = iter(dls.train),iter(dls.train)
    next(one); next(two)
    two.close()
    assert len(begun)==2 and ended(begun[1:]) and begun[0].is_alive()
    one.close()
    assert ended(begun)

def test_truncated(file, begun, slow):
    it = iter(loader(file).train); next(it)
    os.truncate(file, 10**6)
    with pytest.raises(OSError, match='was truncated'): list(it)
    assert begun and ended(begun)

def test_python_ends_meanwhile(file):
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(f'''
        import os, time, threading, numpy as np
        from memmap_ts.all import *
        from memmap_ts.io import reader as read
        from memmap_ts.bench.reading import evict
        read._patience,read._chunk,preadv = 0,2**14,os.preadv
        os.preadv = lambda fd, bufs, *args: (len(bufs[0])==2**14 and time.sleep(.1), preadv(fd, bufs, *args))[1]
        dls = TSDataLoaders.from_memmap({str(file)!r}, np.arange(20_000)%3, splits=(range(20_000),), bs=64)
        evict({str(file)!r})
        it = iter(dls.train); next(it); next(it)
        print(any(isinstance(t, read.Sweep) for t in threading.enumerate()))''')], capture_output=True, text=True, timeout=120)
    assert r.returncode==0 and r.stdout=='True\n' and not r.stderr, r.stdout+r.stderr
