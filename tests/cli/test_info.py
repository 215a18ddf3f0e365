"The commands that tell what is in files"
import os, signal, subprocess, time, pytest
from pathlib import Path
from memmap_ts.store import create_memmap
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system
import shell
from shell import run, run_new

def test_info(data, tmp_path):
    r = run_new('info', *data)
    assert r.returncode==0 and '200 × 3 × 20' in r.stdout and 'dog 67' in r.stdout and not r.stderr
    cut = tmp_path/'cut.npy'; cut.write_bytes(data[0].read_bytes()[:-4])
    r = run('info', cut, data[1], tmp_path/'none.npy')
    assert r.returncode==1 and 'dog 67' in r.stdout
    assert len(r.stderr.splitlines())==2 and 'truncated' in r.stderr and 'No file' in r.stderr
    assert run('info').returncode==2 and 'usage' in run_new('info', '--help').stdout

def test_stats(data, tmp_path):
    r = run_new('stats', data[0], '--by', 'var')
    assert r.returncode==0 and 'mean' in r.stdout and len(r.stdout.splitlines())>=5
    for by in ('var,step','all'): assert run('stats', data[0], '--by', by).returncode==0
    for args in ((data[1],), (tmp_path/'none.npy',), (data[0],'--by','vars')):
        r = run('stats', *args)
        assert r.returncode==1 and len(r.stderr.splitlines())==1 and 'Traceback' not in r.stderr
    assert 'usage' in run_new('stats', '--help').stdout

@pytest.mark.skipif(not isinstance(system, Linux), reason='looks into /proc to see that reading has begun')
def test_ctrl_c(tmp_path):
    "Nothing is left behind"
    fn = tmp_path/'X.npy'
    create_memmap(fn, (2_000_000,50,512)); os.utime(fn, ns=(0,10**18))
    p = subprocess.Popen(shell.command('stats', fn), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    def mapped(): return Path(f'/proc/{p.pid}/maps').read_text().count(str(fn))
    while p.poll() is None and mapped()<2: time.sleep(.1) # the array's mapping and the reader's
    time.sleep(.5)
    p.send_signal(signal.SIGINT)
    out,err = p.communicate(timeout=60)
    assert p.returncode==130 and 'Traceback' not in err
    assert [o.name for o in tmp_path.iterdir()]==['X.npy']
