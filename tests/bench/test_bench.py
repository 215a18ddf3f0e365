"The benchmark's command, on a small file"
import os, pickle, signal, threading, time, numpy as np, pytest
from contextlib import suppress
from pathlib import Path
from shell import run
from memmap_ts.bench.contenders import Rows
from memmap_ts.bench.processes import FORKS, Processes
from memmap_ts.testing import evict, kept_in_memory, share_evicted

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
    evict(a)
    with kept_in_memory([a,b]):
        evict(a)
        assert share_evicted(a)==0
    assert a.stat().st_size==3*2**20+5

def _small(tmp_path):
    np.zeros(2**20, 'u1').tofile(tmp_path/'X.npy')
    return dict(path=str(tmp_path/'X.npy'), sizes=[(4096,8)], secs=.1, plan=[('warm',1)])

@pytest.mark.parametrize('forks', [True,False] if FORKS else [False])
def test_runs_have_processes_of_their_own(tmp_path, capsys, forks):
    with Processes(tmp_path, forks) as child:
        got = [child('torch, 2 workers', **_small(tmp_path)) for _ in range(2)]
        assert all(r['warm',4096][0].rate>0 for r in got) and not capsys.readouterr().err
        assert set(child.live)=={'torch, 2 workers'}
    assert not child.live

def test_a_run_that_fails_says_so_and_the_others_go_on(tmp_path, capsys):
    job = _small(tmp_path)
    with Processes(tmp_path) as child:
        assert child('torch, per item', **{**job, 'plan':[('warm',1),('no such key',)]})=={} # the run itself
        assert 'torch, per item ended with status 1' in (err := capsys.readouterr().err) and 'ValueError' in err
        assert child('torch, per item', **{**job, 'path':str(tmp_path/'none.npy')})=={} # the contender
        assert 'rows of 4096 B, failed' in (err := capsys.readouterr().err) and 'FileNotFoundError' in err
        assert child('torch, per item', **job) and not capsys.readouterr().err
        if os.name=='nt': return # where a process that is killed has another status
        child.live['torch, per item'].process.kill()
        child.live['torch, per item'].process.join()
        assert child('torch, per item', **job)=={}
        assert 'ended with status -9' in capsys.readouterr().err
        assert child('torch, per item', **job) and not capsys.readouterr().err

def test_rows_for_workers_that_are_not_forked(tmp_path):
    np.arange(1000, dtype='f4').tofile(tmp_path/'a.bin')
    X = np.memmap(tmp_path/'a.bin', 'f4', 'r', 128, (10,1,90))
    rows = pickle.loads(pickle.dumps(Rows(X)))
    assert len(rows)==10 and (rows[3]==X[3]).all() and isinstance(rows.X, np.memmap)

@pytest.mark.skipif(not FORKS, reason='looks for the processes in /proc')
def test_an_interrupt_ends_the_run(tmp_path):
    def using(log):
        "Processes that have file `log` open"
        res = set()
        for o in Path('/proc').glob('[0-9]*/fd/1'):
            with suppress(OSError):
                if os.readlink(o)==str(log): res.add(o.parts[2])
        return res
    with Processes(tmp_path) as child:
        job = _small(tmp_path)
        assert child('torch, per item', **job)
        log = child.live['torch, per item'].log
        def interrupt():
            end = time.monotonic()+30
            while len(using(log))<2 and time.monotonic()<end: time.sleep(.05) # the contender's process and that of the run
            os.kill(os.getpid(), signal.SIGINT)
        before = signal.signal(signal.SIGINT, signal.default_int_handler) # it may have been ignored
        other = threading.Thread(target=interrupt)
        other.start()
        try:
            with pytest.raises(KeyboardInterrupt): child('torch, per item', **{**job, 'secs':60, 'plan':[('warm',2)]}); other.join()
        finally: signal.signal(signal.SIGINT, before)
        assert not using(log) and not child.live
        assert child('torch, per item', **job)
