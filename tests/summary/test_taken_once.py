"All processes of a launch want statistics of one file: one takes them, the others wait and read"
import json, os, numpy as np, pytest
from memmap_ts.store import open_memmap
from memmap_ts.stats import memmap_stats
from memmap_ts.summary.scan import Scan
from summaries import old

pytestmark = [pytest.mark.skipif(os.name!='posix', reason='forks'), pytest.mark.usefixtures('on_a_disk')]

def mean(me, fn, **kwargs):
    "Means, by a pass that begins when it is told to; and the number of passes"
    n_scans,run = [],Scan.run
    def halted(scan, progress):
        n_scans.append(1)
        me.tell('scans'); me.hear('go')
        return run(scan, progress)
    Scan.run = halted
    return memmap_stats(fn, **kwargs).mean.tolist(),len(n_scans)

def saved(folder):
    np.save(folder/'X.npy', np.arange(48.).reshape(8,3,2))
    return old(folder/'X.npy')

def test_one_takes_them(tmp_path, start):
    "Of all rows, or of the same ones; a process that wants others does not wait"
    fn = saved(tmp_path)
    first = start(0, mean, fn)
    first.hear('scans')
    others = [start(r, mean, fn) for r in (1,2)]
    for r in others: r.hear('waits')
    some = start(3, mean, fn, idxs=range(2))
    some.hear('scans')
    for r in (first,some): r.tell('go')
    want = np.load(fn).mean((0,2)).tolist()
    assert first.result()==(want,1) and [r.result() for r in others]==[(want,0)]*2
    assert some.result()==(np.load(fn)[:2].mean((0,2)).tolist(),1)
    assert start(1, mean, fn).result()==(want,0) # late
    assert sorted(os.listdir(tmp_path))==['X.npy','X.npy.stats.json']

def test_just_written(tmp_path, start):
    "As after the line that converts a file: the first process lets the clock tick, so that the others need no pass"
    fn = saved(tmp_path)
    def just(me):
        os.utime(fn)
        return mean(me, fn)
    first = start(0, just)
    first.hear('scans')
    second = start(1, mean, fn)
    second.hear('waits')
    first.tell('go')
    assert first.result()[1]==1 and second.result()[1]==0

def test_all_are_kept(tmp_path, start):
    "Statistics of other rows in each process, at once: none loses those of another one"
    fn = saved(tmp_path)
    def some(me):
        for i in range(3): memmap_stats(fn, idxs=range(i,me.rank))
    ranks = [start(r, some) for r in range(3,7)]
    for r in ranks: r.result()
    assert len(json.loads((tmp_path/'X.npy.stats.json').read_text()))==12

def test_killed(tmp_path, start):
    fn = saved(tmp_path)
    first = start(0, mean, fn)
    first.hear('scans')
    second = start(1, mean, fn)
    second.hear('waits')
    first.kill()
    second.hear('scans')
    second.tell('go')
    assert second.result()[1]==1 and sorted(os.listdir(tmp_path))==['X.npy','X.npy.stats.json']

@pytest.mark.parametrize('why', ['no file can be made','not kept','alone'])
def test_each_for_itself(why, tmp_path, start, monkeypatch):
    "Nobody waits where nothing could be read afterwards, nor outside of a launch"
    fn,n = saved(tmp_path),1 if why=='alone' else 2
    if why=='not kept': fn = open_memmap(fn, 'r+') # a later change might not show
    if why=='no file can be made':
        def refuses(*args, **kwargs): raise PermissionError
        monkeypatch.setattr('memmap_ts.disk.launch.open_locked', refuses)
    ranks = [start(r, mean, fn, world_size=n) for r in range(2)]
    for r in ranks: r.hear('scans')
    for r in ranks: r.tell('go')
    assert [r.result()[1] for r in ranks]==[1,1]
