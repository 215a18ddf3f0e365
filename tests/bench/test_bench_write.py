"The command of the writing benchmark, on a small array"
import shutil, pytest
from memmap_ts.bench import writing

@pytest.mark.skipif(shutil.which('dd') is None, reason='needs dd')
def test_bench_write(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(writing, 'in_new_python', lambda f, *args, timeout: f(*args)) # 815_bench.processes tries that
    writing.bench_write(gb=.05, repeat=1, path=str(tmp_path))
    table = {c[1].strip():c for l in capsys.readouterr().out.splitlines() if l.startswith('| ') for c in [l.split('|')]}
    assert {'dd conv=fsync','MemmapWriter','tsai create_array + assign_in_chunks',"the tutorial's way"} <= set(table)
    assert float(table['dd conv=fsync'][3])==1 and float(table['MemmapWriter'][2].replace(',',''))>0
    assert not list(tmp_path.iterdir())

def test_only_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.tempfile, 'TemporaryDirectory', None) # nothing is written
    with pytest.raises(SystemExit, match="--only 'nothing': no contender.*There are: dd conv=fsync; .*MemmapWriter"): writing.bench_write(gb=.05, repeat=1, path=str(tmp_path), only='nothing')

def test_lines_of_the_table():
    "Chunks have all rows; a line has the medians, and the rate beside that of `dd`"
    assert [len(c) for c in writing._chunks(400)]==[160,160,80]
    measured = {'dd conv=fsync':[(1000,1,0),(1200,1,0),(1500,1,0)], 'us':[(600,None,2e1)]*3}
    assert writing._line('dd conv=fsync', measured)=='| dd conv=fsync | 1,200 | 1.00 | 1,000 – 1,500 | 1.00 | 0 |'
    assert writing._line('us', measured)=='| us | 600 | 0.50 | 600 – 600 |  | 20 |'
