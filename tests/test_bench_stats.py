"The command of the benchmark of statistics, on a small array"
import shutil, pytest
from shell import run
from memmap_ts.bench_stats import contenders

@pytest.mark.skipif(shutil.which('cat') is None, reason='needs cat')
def test_bench_stats(tmp_path):
    r = run('bench_stats', '--gb', .05, '--repeats', 1, '--path', tmp_path)
    assert r.returncode==0, r.stderr
    table = [[c.strip() for c in l.split('|')[1:-1]] for l in r.stdout.splitlines() if l.startswith('| ') and 'situation' not in l]
    warm = {c[1]:c for c in table if c[0]=='warm'}
    assert list(warm)==list(contenders) and {c[1] for c in table if c[0]!='warm'}=={'memmap_stats','cat'}
    assert all(float(c[2])>=0 and float(c[3])>0 for c in table) and float(warm['memmap_stats'][4])==1
    assert not list(tmp_path.iterdir())
