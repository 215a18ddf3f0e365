"Looking at arrays, and the commands for files"
import os, signal, subprocess, sys, time, numpy as np, pytest
from functools import partial
import shell
from memmap_ts.all import *
from memmap_ts.describe import describe, facts_of, _share_cached

run = partial(shell.run, timeout=300)

def test_describe(data):
    import matplotlib.pyplot as plt
    before = plt.get_fignums()
    d = describe(*data, seed=0)
    x,y = d.facts
    assert x['shape']=='200 × 3 × 20' and x['dtype']=='float32' and x['file']==str(data[0]) and y['classes']=='3: cat 67, dog 67, eel 66'
    assert [a.get_title() for a in d.fig.axes[:4]]==['cat','dog','eel','values']
    assert '200 × 3 × 20' in repr(d) and '<img' in d._repr_html_() and '<table>' in d._repr_html_()
    assert plt.get_fignums()==before

@pytest.mark.parametrize('X', [np.zeros((5,4)), np.full((5,2,3), np.nan), np.arange(5), np.array(['<b>','b']), np.zeros((0,2,3)), np.zeros((4,2,3), '>f4'), np.zeros((4,2,3), bool)])
def test_odd_arrays(X, saved):
    for a in (X, saved(X)):
        assert repr(describe(a)) and '<b>' not in describe(a)._repr_html_()

def test_windows(saved):
    "Facts are those of the series, on disk or in RAM"
    fn = saved(np.arange(600.).reshape(300,2))
    d = describe(*windows(fn, 20, horizon=5))
    assert [o['windows'] for o in d.facts]==['276 × 2 × 20','276 × 2 × 5'] and all(o['file']==str(fn) and o['shape']=='300 × 2' for o in d.facts)
    assert '276 × 2 × 20' in repr(d) and '<img' in d._repr_html_()
    X,y = windows(np.arange(300), 20, horizon=1)
    d = describe(X, y)
    assert 'file' not in d.facts[0] and d.facts[1]['windows']=='280'
    with pytest.raises(ValueError, match='280 rows and y 279'): describe(X, y[:-1])

def test_reads_only_some_rows(tmp_path):
    "A terabyte, most of which no disk has"
    X = create_memmap(tmp_path/'X.npy', (10**6,100,2500))
    assert describe(X).facts[0]['size']=='1.0 TB'

@pytest.mark.skipif(not hasattr(os, 'posix_fadvise'), reason='needs a way to evict a file')
def test_page_cache(saved):
    fn = saved(np.ones(2**20))
    with open(fn, 'rb') as f: f.read()
    assert _share_cached(open_memmap(fn)) > .9
    with open(fn, 'rb') as f: os.fsync(f.fileno()); os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    share = _share_cached(open_memmap(fn))
    if share > .5: pytest.skip('the file system keeps it')
    assert facts_of(open_memmap(fn))['in page cache']==f'{share:.0%}'

def test_info(data, tmp_path):
    r = run('info', *data)
    assert r.returncode==0 and '200 × 3 × 20' in r.stdout and 'dog 67' in r.stdout and not r.stderr
    cut = tmp_path/'cut.npy'; cut.write_bytes(data[0].read_bytes()[:-4])
    r = run('info', cut, data[1], tmp_path/'none.npy')
    assert r.returncode==1 and 'dog 67' in r.stdout and len(r.stderr.splitlines())==2 and 'truncated' in r.stderr and 'No file' in r.stderr
    assert run('info').returncode==2 and 'usage' in run('info', '--help').stdout

def test_stats(data, tmp_path):
    r = run('stats', data[0], '--by', 'var')
    assert r.returncode==0 and 'mean' in r.stdout and len(r.stdout.splitlines())>=5
    assert run('stats', data[0], '--by', 'var,step').returncode==0 and run('stats', data[0], '--by', 'all').returncode==0
    for args in ((data[1],), (tmp_path/'none.npy',), (data[0],'--by','vars')):
        r = run('stats', *args)
        assert r.returncode==1 and len(r.stderr.splitlines())==1 and 'Traceback' not in r.stderr
    assert 'usage' in run('stats', '--help').stdout

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='looks into /proc to see that reading has begun')
def test_ctrl_c(tmp_path):
    "Nothing is left behind"
    fn = tmp_path/'X.npy'
    create_memmap(fn, (2_000_000,50,512)); os.utime(fn, ns=(0,10**18))
    p = subprocess.Popen(shell.command('stats', fn), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while p.poll() is None and open(f'/proc/{p.pid}/maps').read().count(str(fn))<2: time.sleep(.1) # the array's mapping and the reader's
    time.sleep(.5)
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=60)
    assert p.returncode==130 and 'Traceback' not in err
    assert [o.name for o in tmp_path.iterdir()]==['X.npy']
