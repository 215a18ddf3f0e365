"The benchmark's command, on a small file"
import os
from shell import run
from memmap_ts.bench import _evict, _gone, _kept

def test_bench(tmp_path):
    r = run('bench', '--gb', .1, '--secs', .2, '--only', 'rows of 4 kB', '--path', tmp_path, '--plot', tmp_path/'b.png')
    assert r.returncode==0 and 'failed' not in r.stderr, r.stderr
    table = [[c.strip() for c in l.strip('|').split('|')] for l in r.stdout.splitlines() if l.startswith('| rows')]
    warm = {c[1]:c for c in table if c[0].endswith('steady')}
    assert {'memmap_ts','tsai inplace=False','torch, per item','torch, 2 workers','torch, __getitems__','fastai, itemify','tensor in memory','limit: copy of a batch'} <= set(warm)
    rate = {n: float(c[2].replace(',','')) for n,c in warm.items()}
    for n,c in warm.items(): assert abs(float(c[4])-rate['memmap_ts']/rate[n]) < .006+.01*rate['memmap_ts']/rate[n]
    assert (tmp_path/'b.png').stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir())==['b.png']

def test_kept(tmp_path):
    a,b = tmp_path/'a.bin',tmp_path/'empty.bin'
    a.write_bytes(os.urandom(3*2**20+5)); b.touch()
    _evict(a)
    with _kept([a,b]):
        _evict(a)
        assert _gone(a)==0
    assert a.stat().st_size==3*2**20+5
