"A hundred million windows of 100,000 series, with what is known of each: set up at once, in the memory of a few batches"
import pytest
from forked import run
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

code = '''
    import sys, time, numpy as np
    from itertools import islice
    from memmap_ts.dls import TSDataLoaders
    from memmap_ts.store import create_memmap
    from memmap_ts.testing import anonymous_memory
    from memmap_ts.windows import windows
    n = 100_000
    rng = np.random.default_rng(0)
    lengths = rng.integers(900, 1341, n)
    statics = rng.normal(size=(n,50)).astype('f4')
    def make(steps, lengths, statics):
        (X,K),y = windows(steps, 96, horizon=24, groups=lengths, get_x=[0], known=[1])
        return X,TSDataLoaders.from_memmap((X,K,X.per_group(statics)), y, bs=256)
    for _ in make(np.zeros((2000,2),'f4'), [1000,1000], statics[:2])[1].train: pass # what is loaded once
    steps = create_memmap('steps.npy', (int(lengths.sum()),2), 'f2') # a file with a hole in it
    start,t = anonymous_memory(),time.process_time()
    X,dls = make(steps, lengths, statics)
    seconds,made = time.process_time()-t,anonymous_memory()
    peak,n_batches = made,0
    for dl in dls:
        assert len(dl.dataset)>5e6
        for (x,k,s),y in islice(dl, 40):
            assert x.shape==(256,1,96) and k.shape==(256,1,24) and s.shape==(256,50) and y.shape==(256,24)
            peak,n_batches = max(peak, anonymous_memory()),n_batches+1
    batch = dls.train.do_batch([0,len(dls.train.dataset)-1])
    np.testing.assert_array_equal(batch[0][2].numpy(), statics[[0,n-1]]) # of the first group and of the last one
    print(len(X), seconds, made-start, peak-start, n_batches)
'''

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
def test_a_hundred_million_windows_of_100_000_series(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    r = run(code)
    assert r.returncode==0, r.stderr
    n_windows,seconds,setup,peak,n_batches = map(float, r.stdout.split())
    assert n_windows>1e8 and n_batches==80
    assert seconds<1, f'{seconds:.1f} s to set up'
    assert setup<100e6 and peak<200e6, f'{setup/1e6:.0f} MB to set up, {peak/1e6:.0f} MB in training'
