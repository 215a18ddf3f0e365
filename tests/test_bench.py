"The benchmark's command, on a small file"
import shutil, subprocess, sysconfig

def test_bench(tmp_path):
    exe = shutil.which('memmap_ts_bench', path=sysconfig.get_path('scripts'))
    r = subprocess.run([exe, '--gb', '0.1', '--secs', '0.2', '--only', 'rows of 4 kB', '--path', str(tmp_path), '--plot', str(tmp_path/'b.png')], capture_output=True, text=True, timeout=900)
    assert r.returncode==0 and 'failed' not in r.stderr, r.stderr
    table = [[c.strip() for c in l.strip('|').split('|')] for l in r.stdout.splitlines() if l.startswith('| rows')]
    warm = {c[1]:c for c in table if c[0].endswith('steady')}
    assert {'memmap_ts','tsai inplace=False','torch, per item','torch, 2 workers','torch, __getitems__','fastai, itemify','tensor in memory','limit: copy of a batch'} <= set(warm)
    rate = {n: float(c[2].replace(',','')) for n,c in warm.items()}
    for n,c in warm.items(): assert abs(float(c[4])-rate['memmap_ts']/rate[n]) < .006+.01*rate['memmap_ts']/rate[n]
    assert (tmp_path/'b.png').stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir())==['b.png']
