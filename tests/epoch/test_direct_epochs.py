"Epochs over arrays much larger than memory are read past the page cache, and are the same"
import gc, os, subprocess, sys, textwrap, numpy as np, pytest, torch
from memmap_ts.all import *
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system
from memmap_ts.testing import SmallMemory, evict, share_evicted

def offered(fn):
    with open(fn, 'rb') as f: fd = system.open_direct(f.fileno())
    if fd is not None: os.close(fd)
    return fd is not None
pytestmark = pytest.mark.skipif(not offered(__file__), reason='this system has no direct reads, or no io_submit')

@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    "Every array is larger than memory"
    monkeypatch.setattr(Linux, 'free_memory', lambda self: 1)

def evicted(a):
    "`a`, none of it in the page cache: a busy system keeps pages for a moment"
    for _ in range(100):
        evict(a.filename)
        if share_evicted(a.filename)>.99: break
    return a

def loader(saved, n=600, name='X.npy', **kw):
    X = np.repeat(np.arange(n, dtype='f4'), 2*1000).reshape(n,2,1000)
    a = open_memmap(saved(X, name))
    dls = TSDataLoaders.from_memmap(a, np.arange(n)%3, splits=(range(n),), bs=64, drop_last=False, **kw)
    return X,evicted(a),dls # the loader has looked at a sample

def way(dl): return dl.last_epoch.arrays[0].way

@pytest.mark.parametrize('prefetch', [0,2])
def test_epochs(saved, prefetch):
    "Every row once in each epoch; batches stay what they are; nothing gets into the page cache"
    X,a,dls = loader(saved, 6000, prefetch=prefetch)
    kept = [b for _ in range(3) for b in dls.train]
    for e in range(3):
        got = torch.cat([x for x,y in kept[94*e:94*e+94]]).data
        assert got[:,0,0].sort().values.tolist()==list(range(6000)) and (got==got[:,:1,:1]).all()
    assert way(dls.train)=='direct'
    assert share_evicted(a.filename)>.85 # but for pages looked at

def test_several_inputs_and_items(saved):
    X = np.random.default_rng(0).normal(size=(300,3,500)).astype('f4')
    a,b = evicted(open_memmap(saved(X, 'a.npy'))),evicted(open_memmap(saved(X[:,0]*2, 'b.npy')))
    dls = TSDataLoaders.from_memmap((a,b), np.arange(300), splits=(range(300),), bs=32, drop_last=False)
    evicted(a), evicted(b)
    for (x,z),y in dls.train:
        np.testing.assert_array_equal(x, X[y])
        np.testing.assert_array_equal(z, X[y][:,0]*2)
    x,z,_ = dls.train_ds.tls[0].items.batch([5,-1])
    np.testing.assert_array_equal(x, X[[5,-1]])

@pytest.mark.parametrize('prefetch', [0,2])
def test_truncated(saved, prefetch):
    X,a,dls = loader(saved, 6000, prefetch=prefetch)
    with pytest.raises(OSError, match='X.npy was truncated while it was read'):
        for i,b in enumerate(dls.train):
            if i==3: os.truncate(a.filename, 10_000)

def test_a_system_that_refuses(saved, monkeypatch):
    "Rows come through the page cache then (every refusal of the system: see tests/io/test_reads.py)"
    X,a,dls = loader(saved)
    monkeypatch.setattr(Linux, 'open_direct', lambda self, fd: None)
    for _ in range(2):
        evicted(a)
        assert torch.cat([x for x,y in dls.train])[:,0,0].sort().values.tolist()==list(range(600))
        assert way(dls.train)=='cached'

def test_few_rows_of_many_stay_in_memory(saved, monkeypatch):
    "A validation set that there is room for is left to the page cache"
    X = np.zeros((4000,2,1000), 'f4')
    a = open_memmap(saved(X))
    dls = TSDataLoaders.from_memmap(a, np.arange(4000)%3, splits=(range(3600),range(3600,4000)), bs=64)
    monkeypatch.setattr(Linux, 'free_memory', lambda self: X.nbytes//8)
    evicted(a)
    for dl,want in zip(dls, ('direct','cached')):
        for b in dl: pass
        assert way(dl)==want

def test_training_and_validation_at_once(saved, monkeypatch):
    "Each epoch has a way of its own, whatever another one does meanwhile"
    X = np.repeat(np.arange(4000, dtype='f4'), 2000).reshape(4000,2,1000)
    a = open_memmap(saved(X))
    dls = TSDataLoaders.from_memmap(a, splits=(range(3600),range(3600,4000)), bs=64, drop_last=False)
    monkeypatch.setattr(Linux, 'free_memory', lambda self: X.nbytes//8)
    evicted(a)
    train,seen = iter(dls.train),[]
    seen.append(next(train)[0])
    valid = torch.cat([x for x, in dls.valid])[:,0,0]
    seen += [x for x, in train]
    assert sorted(valid.tolist())==list(range(3600,4000)) and sorted(torch.cat(seen)[:,0,0].tolist())==list(range(3600))
    assert (way(dls.train),way(dls.valid))==('direct','cached')

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
    begun = iter(loader(saved, name='begun.npy', prefetch=0)[2].train); next(begun)
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
    small = SmallMemory(2e9)
    if small.path is None: pytest.skip("this user can't make a memory cgroup")
    try:
        r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(f'''
            import os, numpy as np
            from memmap_ts.io.system import system
            used = b'1'*{used}
            before = system.free_memory()
            np.zeros((1000,50_000), 'f8').tofile({str(tmp_path/'a')!r}) # 400 MB
            with open({str(tmp_path/'a')!r}, 'rb') as f: os.fsync(f.fileno())
            print(before, system.free_memory()-before)''')], capture_output=True, text=True, preexec_fn=small.enter)
        free,change = map(int, r.stdout.split())
        assert .4e9<free<=most and abs(change)<1e8, r.stderr
    finally: small.remove()
