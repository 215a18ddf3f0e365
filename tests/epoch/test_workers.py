"Worker processes get names of files, by fork and by spawn"
import os, subprocess, sys, textwrap, numpy as np, pytest

code = '''
    import multiprocessing, sys, numpy as np, torch
    from memmap_ts.all import *
    if __name__=='__main__':
        multiprocessing.set_start_method(sys.argv[1])
        X = open_memmap(sys.argv[2])
        def no(self, *args): raise AssertionError("an array on disk was pickled")
        class Guard(np.memmap): __reduce__ = __reduce_ex__ = no
        def loaders(X, **kw): return TSDataLoaders.from_memmap(X, np.arange(200.), splits=(range(150),range(150,200)), bs=16, seed=0, drop_last=False, **kw)
        one,two = loaders(X),loaders(X.view(Guard), num_workers=2)
        for _ in range(2):
            ys = []
            for (a,b),(x,y) in zip(one.train, two.train, strict=True):
                assert a.equal(x) and b.equal(y) and np.array_equal(x.numpy(), X[y.long().numpy()])
                ys += y.tolist()
            assert sorted(ys)==list(range(150)), ys
        assert torch.cat([y for _,y in two.valid]).tolist()==list(range(150,200))
        print('fine')
'''

@pytest.mark.parametrize('method', [pytest.param('fork', marks=pytest.mark.skipif(sys.platform=='win32', reason='Windows has no fork')), 'spawn'])
def test_workers(method, data, tmp_path):
    (tmp_path/'run.py').write_text(textwrap.dedent(code))
    r = subprocess.run([sys.executable, tmp_path/'run.py', method, data[0]], capture_output=True, text=True, timeout=600)
    assert r.returncode==0 and r.stdout.strip().endswith('fine'), r.stdout+r.stderr

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no fork')
def test_buffers_are_not_shared_with_a_fork():
    from memmap_ts.epoch.buffers import Buffers
    ring = Buffers(5)
    a = ring.empty((2**16,), np.dtype('u1')); a[:] = 1
    del a # free, to be used again
    pid = os.fork()
    if not pid:
        b = ring.empty((2**16,), np.dtype('u1')); b[:] = 2
        os._exit(0)
    os.waitpid(pid, 0)
    assert (ring.empty((2**16,), np.dtype('u1'))==1).all()
