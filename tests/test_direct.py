"Arrays much larger than memory are read past the page cache, and are the same"
import gc, os, subprocess, sys, textwrap, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from memmap_ts.all import *
from memmap_ts.io import reader as read
from memmap_ts.bench.reading import _Small, evict, share_evicted
from memmap_ts.io.reader import RowReader

def offered(fn):
    try: os.close(os.open(fn, os.O_RDONLY|os.O_DIRECT))
    except (AttributeError,OSError): return False
    return read._calls is not None
pytestmark = pytest.mark.skipif(not offered(__file__), reason='this system has no direct reads, or no io_submit')

@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    "Every array is larger than memory"
    monkeypatch.setattr(read, 'free_memory', lambda: 1)

def evicted(a):
    evict(a.filename)
    return a

@settings(max_examples=80, deadline=None)
@given(row=st.sampled_from([1,3,100,400,4096,5000,102_400]), off=st.sampled_from([0,1,64,128,4095,4096,5000]), n=st.integers(1,700), seed=st.integers(0,9))
def test_equals_numpy(tmp_path_factory, row, off, n, seed):
    "Rows of any size, from the first byte of the file to the last, in any order, twice in a batch"
    rng = np.random.default_rng(seed)
    n = min(n, 2**22//row)
    fn = tmp_path_factory.mktemp('raw')/'a.bin'
    fn.write_bytes(rng.integers(0, 256, off+n*row, dtype='u1').tobytes())
    a = evicted(np.memmap(fn, 'u1', 'r', off, (n,row)))
    r = RowReader(a)
    r.warm,r.direct = False,read._Direct(r) # what `start` does; looking whether so little is in memory brings it there
    for i in (rng.integers(0, n, 25), np.arange(n)[::-1], rng.permutation(n), np.array([n-1]*3), *([np.arange(n)] if row>=4096 else [])):
        if row<4096 and read.is_run(i): continue
        early,out = r.hint(i),np.zeros((len(i),row), 'u1')
        assert early and early.into(out)
        np.testing.assert_array_equal(out, np.asarray(a)[i])

def loader(saved, n=600, **kw):
    X = np.repeat(np.arange(n, dtype='f4'), 2*1000).reshape(n,2,1000)
    a = open_memmap(saved(X))
    dls = TSDataLoaders.from_memmap(a, np.arange(n)%3, splits=(range(n),), bs=64, drop_last=False, **kw)
    return X,evicted(a),dls # the loader has looked at a sample

@pytest.mark.parametrize('prefetch', [0,2])
def test_epochs(saved, prefetch):
    "Every row once in each epoch; batches stay what they are; nothing gets into the page cache"
    X,a,dls = loader(saved, 6000, prefetch=prefetch)
    kept = [b for _ in range(3) for b in dls.train]
    for e in range(3):
        got = torch.cat([x for x,y in kept[94*e:94*e+94]]).data
        assert got[:,0,0].sort().values.tolist()==list(range(6000)) and (got==got[:,:1,:1]).all()
    assert dls.train.dataset.tls[0].items._reader(0).direct
    assert share_evicted(a.filename)>.85 # but for pages looked at

def test_buffers(saved):
    "Where a batch is large enough, Linux can lay it into huge pages: the size is a multiple of theirs. Small ones stay small"
    a = evicted(open_memmap(saved(np.zeros((300,25_000), 'f4'))))
    for n,size in ((64,8*2**20),(11,2*2**20),(9,9*26*4096)):
        r = RowReader(a)
        r.warm,r.direct = False,read._Direct(r)
        assert r.hint(np.arange(n)[::-1]).into(np.empty((n,25_000), 'f4'))
        assert [len(m) for m in r.direct.free]==[size]

def test_several_inputs_and_items(saved):
    X = np.random.default_rng(0).normal(size=(300,3,500)).astype('f4')
    a,b = evicted(open_memmap(saved(X, 'a.npy'))),evicted(open_memmap(saved(X[:,0]*2, 'b.npy')))
    dls = TSDataLoaders.from_memmap((a,b), np.arange(300), splits=(range(300),), bs=32, drop_last=False)
    evicted(a), evicted(b)
    for (x,z),y in dls.train:
        np.testing.assert_array_equal(x, X[y])
        np.testing.assert_array_equal(z, X[y][:,0]*2)
    items = dls.train_ds.tls[0].items
    x,z,_ = items.batch([5,-1])
    np.testing.assert_array_equal(x, X[[5,-1]])

@pytest.mark.parametrize('prefetch', [0,2])
def test_truncated(saved, prefetch):
    X,a,dls = loader(saved, 6000, prefetch=prefetch)
    with pytest.raises(OSError, match='X.npy was truncated while it was read'):
        for i,b in enumerate(dls.train):
            if i==3: os.truncate(a.filename, 10_000)

@pytest.mark.parametrize('broken', ['open','submit','align','setup'])
def test_a_system_that_refuses(saved, monkeypatch, broken):
    "Rows come through the page cache then"
    X,a,dls = loader(saved)
    opened,call = os.open,read._Reads._call
    def no_open(fn, flags, *args):
        if flags&os.O_DIRECT: raise OSError(22, 'Invalid argument')
        return opened(fn, flags, *args)
    def no_call(self, i, *args):
        if i==dict(submit=3, setup=0)[broken]: raise OSError(22, 'Invalid argument')
        return call(self, i, *args)
    monkeypatch.setattr(read._Reads, 'free', [])
    if broken=='open': monkeypatch.setattr(os, 'open', no_open)
    elif broken=='align': monkeypatch.setattr(read, '_block', 1)
    else: monkeypatch.setattr(read._Reads, '_call', no_call)
    for epoch in range(2):
        assert torch.cat([x for x,y in dls.train])[:,0,0].sort().values.tolist()==list(range(600))
        if broken=='align' and not epoch: assert not dls.train_ds.tls[0].items._reader(0).direct.works # each of its reads fails: no more are tried

def test_when_not(saved):
    "Arrays that may change, batches too large to have several under way, arrays in memory or that have room in it"
    X = np.zeros((40,2,1000), 'f4')
    fn = saved(X)
    for mode,free,n,want in (('r',1,40,True), ('r+',1,40,False), ('r',1,4000,False), ('r',X.nbytes,40,False), ('r',0,40,False)):
        read.free_memory = lambda: free # as `no_memory` does
        r = RowReader(evicted(open_memmap(fn, mode)))
        r.start()
        assert bool(r.hint(np.arange(n)%40))==want, (mode,free,n)
    read.free_memory = lambda: 1
    r = RowReader(evicted(open_memmap(saved(np.zeros((400,1,100), 'f4'), 'small.npy'))))
    r.start()
    assert r.hint(np.arange(50)) is None and r.hint(np.arange(50)*2) # small rows one after the other share blocks
    r = RowReader(open_memmap(saved(X, 'warm.npy')))
    np.array(r.a); r.start()
    assert r.warm and not r.direct

def test_few_rows_of_many_stay_in_memory(saved, monkeypatch):
    "A validation set that there is room for is left to the page cache"
    X = np.zeros((4000,2,1000), 'f4')
    a = open_memmap(saved(X))
    dls = TSDataLoaders.from_memmap(a, np.arange(4000)%3, splits=(range(3600),range(3600,4000)), bs=64)
    monkeypatch.setattr(read, 'free_memory', lambda: X.nbytes//8)
    evicted(a)
    for dl,want in zip(dls, (True,False)):
        for b in dl: pass
        assert bool(dl.dataset.tls[0].items._reader(0).direct)==want

def test_signals(saved):
    "A signal ends the wait for reads early; no row is missing then"
    import signal
    X,a,dls = loader(saved, 6000, prefetch=0)
    n = []
    old = signal.signal(signal.SIGALRM, lambda *_: n.append(1))
    signal.setitimer(signal.ITIMER_REAL, .0005, .0005)
    try:
        for _ in range(3): assert torch.cat([x[:,0] for x,y in dls.train])[:,::999].sort(0).values.tolist()==[[i,i] for i in range(6000)]
    finally: signal.setitimer(signal.ITIMER_REAL, 0); signal.signal(signal.SIGALRM, old)
    assert len(n)>100

def aio(): return open('/proc/self/maps').read().count('[aio]') # places of this process

def test_epochs_abandoned(saved):
    "Reads that nobody waits for hold no file, no memory, no place among the system's reads"
    X,a,dls = loader(saved)
    def some():
        for _ in range(200):
            it = iter(dls.train); next(it); it.close()
        gc.collect()
        return len(os.listdir('/proc/self/fd')),aio()
    some()
    first = some()
    assert some()==first
    assert 0<first[1]<64

def test_in_a_forked_process(saved):
    "A child makes its own reads, also for a batch that no epoch has been started for"
    X,a,dls = loader(saved)
    it = iter(dls.train); next(it)
    begun = iter(loader(saved, prefetch=0)[2].train); next(begun)
    pid = os.fork()
    if not pid:
        try:
            ok = sum(len(x) for x,y in begun)==600-64
            ok = ok and (dls.train.do_batch(np.array([5,77]))[0][:,0,0].numpy()==[5,77]).all()
            ok = ok and sum(len(x) for x,y in dls.train)==600 # PyTorch's own threads do not survive a fork
        except BaseException: ok = False
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1]==0
    assert sum(len(x) for x,y in it)==600-64

@pytest.mark.parametrize('used,most', [(0,2e9),(8*10**8,1.2e9)])
def test_free_memory_is_what_a_container_has(tmp_path, used, most):
    "Its limit, less what is used; not less what files have in memory, which can go"
    small = _Small(2e9)
    if small.path is None: pytest.skip("this user can't make a memory cgroup")
    try:
        r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(f'''
            import os, numpy as np
            from memmap_ts.io.reader import free_memory
            used = b'1'*{used}
            before = free_memory()
            np.zeros((1000,50_000), 'f8').tofile({str(tmp_path/'a')!r}) # 400 MB
            with open({str(tmp_path/'a')!r}, 'rb') as f: os.fsync(f.fileno())
            print(before, free_memory()-before)''')], capture_output=True, text=True, preexec_fn=small.enter)
        free,change = map(int, r.stdout.split())
        assert .4e9<free<=most and abs(change)<1e8, r.stderr
    finally: small.remove()
