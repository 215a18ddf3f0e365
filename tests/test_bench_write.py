"The command of the writing benchmark, on a small array"
import shutil, pytest
from shell import run

@pytest.mark.skipif(shutil.which('dd') is None, reason='needs dd')
def test_bench_write(tmp_path):
    r = run('bench_write', '--gb', .05, '--repeat', 1, '--path', tmp_path)
    assert r.returncode==0, r.stderr
    table = {c[1].strip():c for l in r.stdout.splitlines() if l.startswith('| ') for c in [l.split('|')]}
    assert {'dd conv=fsync','MemmapWriter','tsai create_array + assign_in_chunks',"the tutorial's way"} <= set(table)
    assert float(table['dd conv=fsync'][3])==1 and float(table['MemmapWriter'][2].replace(',',''))>0
    assert not list(tmp_path.iterdir())
