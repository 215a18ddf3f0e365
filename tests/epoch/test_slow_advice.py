"`last_epoch` recommends blocks on a disk that gives few single rows a second, and nowhere else"
import time
import numpy as np, pytest
from memmap_ts.all import *
from memmap_ts.epoch.advice import slow_rate
from memmap_ts.epoch.stats import ArrayStats, EpochStats
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

def arrays(way='cached', n=2000, row_bytes=4096, share=0., swept=False):
    labels = ArrayStats('y', 'memory', n, 8*n, 1., False)
    return [labels,ArrayStats('X.npy', way, n, n*row_bytes, share, swept)]

def stats(seconds=10., workers=0, shuffled=True, **kw):
    times = dict(data=seconds, item_tfms=0., copy=0., batch_tfms=0., model=.2)
    return EpochStats(times, arrays(**kw), 9, 9, None, workers, shuffled)

@pytest.mark.parametrize('kw', [{}, dict(way='direct'), dict(way='mapped'), dict(row_bytes=100_000), dict(share=.5), dict(n=9000)])
def test_recommended(kw):
    s = stats(**kw)
    assert "shuffle='blocks'" in s.advice and "shuffle='blocks'" in repr(s) and f'{slow_rate(s.arrays, 10.):,.0f} rows' in s.advice

@pytest.mark.parametrize('kw', [dict(way='memory'), dict(way='computed'), dict(swept=True), dict(share=1.), dict(n=0), dict(n=20_000),
    dict(row_bytes=200_000), dict(n=50, seconds=.5), dict(shuffled=False), dict(workers=2), dict(seconds=.01)])
def test_not_recommended(kw): assert 'blocks' not in stats(**kw).advice

class SlowReads(Linux):
    "A disk that takes its time for each row"
    def start_reads(self, fd, offsets, addresses, sizes):
        time.sleep(.005*len(offsets))
        return super().start_reads(fd, offsets, addresses, sizes)

@pytest.mark.skipif(not isinstance(system, Linux), reason='is about reads of Linux')
@pytest.mark.parametrize('shuffle', [True,False,'blocks'])
def test_of_a_loader(saved, shuffle):
    "Only where rows come in random order, each by itself"
    fn = saved(np.zeros((256,1,25_000), 'f4')) # 100 kB a row: smaller ones would be read in order
    dl = TSDataLoaders.from_memmap(fn, np.arange(256, dtype='f4'), splits=(range(256),), bs=64, shuffle=shuffle).train
    dl.plan.items[0].reader(0).file.system = SlowReads()
    system.evict(fn)
    for _ in dl: pass
    assert ("shuffle='blocks'" in dl.last_epoch.advice)==(shuffle is True)

def test_small_rows_that_are_read_one_by_one():
    "More bytes of memory help, fewer bytes of a row don't"
    said = stats(way='direct', row_bytes=400, n=10**6).advice
    assert "shuffle='blocks'" in said and '400 bytes' in said and 'float16' not in said
    for kw in (dict(workers=2), dict(shuffled=False), dict(way='cached'), dict(row_bytes=4096)):
        assert 'blocks' not in stats(**dict(way='direct', row_bytes=400, n=10**6)|kw).advice
