"On a disk that gives 200 pieces a second, blocks of rows come at least ten times as fast as single rows"
import json, subprocess, sys, textwrap
import numpy as np, pytest
from memmap_ts.all import *
from memmap_ts.testing import SlowDisk

EPOCH = '''
    import itertools, json, os, sys, time, numpy as np
    from memmap_ts.all import *
    from memmap_ts.testing import evict
    file,group,n,seconds = sys.argv[1],sys.argv[2],int(sys.argv[3]),float(sys.argv[4])
    found = {}
    def loader(**kw):
        return TSDataLoaders.from_memmap(file, np.arange(n, dtype='f4'), splits=(range(n),), seed=1, bs=64, **kw).train
    open(group, 'w').write(str(os.getpid()))
    for shuffle in ('blocks',True): # an epoch that is left leaves what it has asked for
        evict(file)
        dl,got,right,start = loader(shuffle=shuffle),0,True,time.perf_counter()
        for x,y in dl:
            got += len(y)
            right &= bool((x[:,0,0]==y).all())
            if shuffle is True and time.perf_counter()-start>seconds: break
        took = time.perf_counter()-start
        found[str(shuffle)] = dict(rate=got/took, right=right, rows=got, way=dl.last_epoch.arrays[0].way, advice=dl.last_epoch.advice)
    print(json.dumps(found))
'''

@pytest.mark.alone
def test_ten_times_the_rows(tmp_path):
    n = 4096 # of 64 KiB: no thread reads so large rows in order
    X = create_memmap(tmp_path/'X.npy', (n,1,16384))
    X[:,0,0] = np.arange(n)
    X[:,0,1:] = 1
    X.flush()
    del X
    for _ in range(2): # whatever else is written to the disk just then is in the way
        slow = SlowDisk(tmp_path, 200)
        if slow.path is None: pytest.skip('no group of processes with a slow disk: that needs root, control groups of version 1, and files on a disk')
        try:
            args = [tmp_path/'X.npy', slow.path/'cgroup.procs', n, 2.5]
            r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(EPOCH), *map(str, args)], capture_output=True, text=True)
        finally: slow.remove()
        assert not r.returncode, r.stderr
        full,blocks = json.loads(r.stdout)['True'],json.loads(r.stdout)['blocks']
        if blocks['rate']>10*full['rate']: break
    assert full['right'] and blocks['right'] and 'direct' not in (full['way'],blocks['way'])
    assert blocks['rate']>10*full['rate'], (full,blocks)
    assert "shuffle='blocks'" in full['advice']
