"The command of the benchmark of statistics, on a small array"
import shutil, pytest
from memmap_ts.bench import statistics
from memmap_ts.bench.statistics import contenders

@pytest.mark.skipif(shutil.which('cat') is None, reason='needs cat')
def test_bench_stats(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(statistics, 'in_new_python', lambda f, *args: f(*args)) # 815_bench.processes tries that
    statistics.bench_stats(gb=.05, repeats=1, path=str(tmp_path))
    table = [[c.strip() for c in l.split('|')[1:-1]] for l in capsys.readouterr().out.splitlines()
             if l.startswith('| ') and 'situation' not in l]
    situations = {}
    for c in table: situations.setdefault(c[0], []).append(c)
    first,*warm = situations
    assert [c[1] for c in situations[first]]==['memmap_stats','cat'] and warm==['warm','warm, memory as it comes']
    assert all([c[1] for c in situations[k]]==list(contenders) for k in warm)
    assert all(float(c[2])>=0 and float(c[3])>0 for c in table) and all(float(r[0][4])==1 for r in situations.values())
    assert not list(tmp_path.iterdir())

def test_lines_of_the_table(capsys):
    "The median of the time, with the memory of the same run; ours is 1"
    statistics._show('cold', {'memmap_stats':[(2.,1e7),(1.9,2e7),(2.1,3e7)], 'cat':[(2.5,0)]}, 4e9)
    assert capsys.readouterr().out.splitlines()==['| cold | memmap_stats | 2.00 | 2.00 | 1.00 | 10 |', '| cold | cat | 2.50 | 1.60 | 1.25 | 0 |']
