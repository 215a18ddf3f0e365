"The benchmark of reading: its command, its rounds, its processes, what it sets and puts back"
import os, pickle, signal, subprocess, sys, threading, time, numpy as np, pytest
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from memmap_ts.bench import large, measure, reading, record, situations
from memmap_ts.bench.contenders import OURS, Rows, contenders
from memmap_ts.bench.limits import copies
from memmap_ts.bench.measure import Figures, measured
from memmap_ts.bench.processes import FORKS, Processes, run_trial
from memmap_ts.bench.readahead import ReadAhead, about, usual_read_ahead
from memmap_ts.bench.record import Record
from memmap_ts.bench.report import lines, said_times, table
from memmap_ts.bench.situations import Rounds, cold
from memmap_ts.testing import evict, kept_in_memory, share_evicted

@pytest.fixture
def here(monkeypatch):
    "Runs in this process instead of one of their own, of three contenders; the device stays as it is"
    class Here(Processes):
        def __call__(self, name, small, **job): return run_trial(dict(name=name, **job))[0]
    class NoDevice(ReadAhead):
        def __init__(self, path): self.file,self.device = None,'the device'
    names = OURS,'torch, __getitems__','grain','tensor in memory'
    monkeypatch.setattr(reading, 'contenders', {n:contenders[n] for n in names})
    monkeypatch.setattr(measure, 'STEADY_SECS', .05)
    monkeypatch.setattr(situations, 'copies', lambda row_bytes, bs: copies(row_bytes, bs, .01))
    monkeypatch.setattr(record, 'direct_reads', lambda *args, **kwargs: None)
    monkeypatch.setattr(reading, 'Processes', Here)
    monkeypatch.setattr(reading, 'ReadAhead', NoDevice)

def _cells(line): return [c.strip() for c in line.strip('|').split('|')]

def test_bench(tmp_path, capsys, here):
    reading.bench(quick=True, gb=.01, only='rows of 4 kB', path=str(tmp_path), record=str(tmp_path))
    out = capsys.readouterr().out
    assert 'processors' in out and 'memmap_ts_bench --quick --gb 0.01 --only "rows of 4 kB"' in out
    found = [_cells(line) for line in out.splitlines() if line.startswith('| rows')]
    whole = {c[1]:c for c in found if c[0]=='rows of 4 kB, cold, whole epoch'}
    steady = {c[1]:c for c in found if c[0]=='rows of 4 kB, warm, steady'}
    assert found[0][0]=='rows of 4 kB, cold, whole epoch' or not whole # whole epochs come first
    assert list(steady)==[OURS,'torch, __getitems__','tensor in memory','limit: copy of a batch'] # grain is not close
    if whole: assert list(whole)==[OURS,'torch, __getitems__','limit: cat, then a warm epoch'] and float(whole[OURS][2])>0
    rate = {n:float(c[5].replace(',','')) for n,c in steady.items()}
    for n,c in steady.items(): assert abs(float(c[3])-rate[OURS]/rate[n]) < .006+.01*rate[OURS]/rate[n]
    assert sorted(p.name for p in tmp_path.iterdir())==['bench.json','bench.svg']
    assert 'samples/s' in (tmp_path/'bench.svg').read_text()
    kept = Record.load(tmp_path/'bench.json')
    assert [_cells(line)[:2] for line in table(kept).splitlines()[2:]]==[c[:2] for c in found]
    for c in found: assert kept.figures(*c[:2]).rate==pytest.approx(float(c[5].replace(',', '')), rel=1e-3, abs=.6)

def test_commands():
    ours = {e.name:e for e in entry_points(group='console_scripts') if e.name.startswith('memmap_ts_bench')}
    assert set(ours)=={'memmap_ts_bench','memmap_ts_bench_write','memmap_ts_bench_stats'} and all(callable(e.load()) for e in ours.values())

@pytest.mark.parametrize('kwargs', [dict(gb=-1), dict(record='no/folder'), dict(memory=-1)])
def test_mistakes(tmp_path, kwargs, here):
    with pytest.raises(SystemExit, match='--'): reading.bench(path=str(tmp_path), **kwargs)
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('kwargs,there', [(dict(gb=.01), 'rows of 102 kB; .*4.0 GB.*; 20 ms a step'), (dict(quick=True), 'rows of 102 kB; rows of 4 kB$'), (dict(large=True, gb=7), 'rows of 10 .*1.2 MB')])
def test_only_nothing(tmp_path, kwargs, there, here, monkeypatch):
    "Nothing is written, and what an earlier run has left stays"
    def written(*args): raise AssertionError('a file was written')
    monkeypatch.setattr(reading, 'write_numbers', written)
    monkeypatch.setattr(large, 'check_memory', lambda *args: None)
    for name in ('bench.json','bench_large.json'): (tmp_path/name).write_text('earlier')
    with pytest.raises(SystemExit, match=f"--only 'nothing': no situation.*There are: .*{there}"): reading.bench(path=str(tmp_path), record=str(tmp_path), only='nothing', **kwargs)
    assert {p.name:p.read_text() for p in tmp_path.iterdir()}=={'bench.json':'earlier', 'bench_large.json':'earlier'}

def test_nothing_could_be_measured(tmp_path, here, monkeypatch):
    "As where a file can't be evicted"
    monkeypatch.setattr(reading, '_measure_all', lambda *args: None)
    (tmp_path/'bench.json').write_text('earlier')
    with pytest.raises(SystemExit, match='nothing could be measured'): reading.bench(gb=.01, quick=True, path=str(tmp_path), record=str(tmp_path))
    assert [(p.name,p.read_text()) for p in tmp_path.iterdir()]==[('bench.json','earlier')]

def test_help_tells_of_the_device(): assert 'As root' in reading.bench.__doc__ and '128 KiB' in reading.bench.__doc__

def _played(rates, calls=None):
    "Runs that are made up: rates of a contender, one for each round"
    calls = [] if calls is None else calls
    def run(name, small, *, row_bytes, n_epochs, **job):
        rate = rates[name][calls.count(name)]
        calls.append(name)
        return [] if rate is None else [Figures(1000, row_bytes, 1000/rate, True, .1, rate, 0., 1., 9., .1)]*n_epochs
    return run

def test_rounds_go_there_and_back_and_pairs_are_of_one_round(capsys):
    a,b = OURS,'torch, __getitems__'
    calls,kept = [],Record('', {})
    run = _played({a:[300,400,100,None,500], b:[100,100,None,1,100], 'grain':[10]}, calls)
    Rounds(run, 'X.npy', kept).compare(['t'], [a,b,'grain'], (4096,64), {'l':lambda ours: ours and Figures(5, 4, 1.)})
    assert calls==[a,b,'grain', b,a, a,b, b,a, a,b]
    assert kept.times('t', b)==(4, 3, 5) and kept.times('t', 'grain')==(40, 40, 40) # who came once: beside the median
    assert [f and f.rate for f in kept.runs['t'][b]]==[100,100,None,1,100]
    assert len(lines(kept, 't'))==4 and 'limit: l' in capsys.readouterr().out
    assert kept.times('t', 'nobody') is None and kept.figures('t', 'nobody') is None

def test_limit_of_a_cold_epoch_needs_a_whole_warm_one(tmp_path, monkeypatch):
    (tmp_path/'X.bin').write_bytes(bytes(2**20))
    for whole in (True,False):
        second = Figures(100, 4096, .5, whole)
        def run(name, small, *, n_epochs, second=second, **job):
            assert n_epochs==2
            return [Figures(100, 4096, 2., True), second]
        kept = Record('', {})
        cold(Rounds(run, str(tmp_path/'X.bin'), kept, n=1), [OURS], (4096,64))
        limit = kept.figures('rows of 4 kB, cold, whole epoch', 'limit: cat, then a warm epoch')
        assert (limit.secs>.5) if whole else limit is None

def test_figures():
    import torch
    def epoch(): return (torch.ones(8, 4) for _ in range(10))
    f = measured(epoch, '/', 16, secs=9, least_rows=80)
    assert (f.n_rows,f.whole)==(80,True) and f.first_batch<=f.secs and f.start_rate==f.rate
    assert not measured(epoch, '/', 16, secs=9, least_rows=81).whole # rows are missing
    cut = measured(epoch, '/', 16, secs=0)
    assert (cut.n_rows,cut.whole)==(8,False)
    assert measured(epoch, '/', 16, secs=.01, again=True).n_rows>80

def test_what_a_line_says():
    kept = Record('', {})
    kept.add('t', OURS, 0, Figures(100, 4, 2., True, .1, 60., .5, 1., 9., .1))
    kept.add('t', 'slow', 0, Figures(100, 4, 30., False, .1, 3.))
    kept.add('t', 'limit', 0, Figures(100, 4, 1.))
    assert [_cells(line)[2] for line in lines(kept, 't')]==['2.00','> 30','']
    assert [_cells(line)[3] for line in lines(kept, 't')]==['1.00','15','0.50']
    assert (said_times(None), said_times((3.1,2.8,12.2)), said_times((1,1,1)))==('','3.10 (2.80–12)','1.00')

def test_kept(tmp_path):
    a,b = tmp_path/'a.bin',tmp_path/'empty.bin'
    a.write_bytes(os.urandom(3*2**20+5))
    b.touch()
    evict(a)
    with kept_in_memory([a,b]):
        evict(a)
        assert share_evicted(a)==0
    assert a.stat().st_size==3*2**20+5

@pytest.fixture
def device(tmp_path):
    "A device that is a file"
    file = tmp_path/'vdz'/'queue'/'read_ahead_kb'
    file.parent.mkdir(parents=True)
    file.write_text('8192\n')
    ahead = ReadAhead(tmp_path)
    ahead.file,ahead.device = file,'vdz'
    return ahead

@pytest.mark.parametrize('error', [None,ValueError,KeyboardInterrupt,SystemExit])
def test_read_ahead_is_put_back(device, error, capsys):
    with suppress(error or ()), usual_read_ahead(device) as usual:
        assert usual and device.kib==128 and '8192' in (said := capsys.readouterr().err) and str(device.file) in said
        if error: raise error
    assert device.kib==8192 and signal.getsignal(signal.SIGTERM)==signal.SIG_DFL

def test_read_ahead_that_may_not_be_set(device, monkeypatch):
    def may_not(self, *args): raise PermissionError(13, 'no')
    monkeypatch.setattr(type(device.file), 'write_text', may_not)
    with usual_read_ahead(device) as usual: assert not usual and device.kib==8192
    assert '8192 KiB' in about(device) and 'slower' in about(device) and 'root' in about(device)
    device.file = None
    with usual_read_ahead(device) as usual: assert not usual
    assert 'not known' in about(device)

@pytest.mark.skipif(os.name=='nt', reason='has no such signal')
def test_read_ahead_is_put_back_after_a_kill(device):
    code = f'''if True:
        import os, time
        from pathlib import Path
        from memmap_ts.bench.readahead import ReadAhead, usual_read_ahead
        ahead = ReadAhead('.')
        ahead.file = Path({str(device.file)!r})
        with usual_read_ahead(ahead):
            print('set', flush=True)
            time.sleep(60)'''
    process = subprocess.Popen([sys.executable,'-c',code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline()=='set\n' and device.kib==128
    process.terminate()
    assert process.wait(30)==143 and device.kib==8192

def test_large_needs_a_cgroup(tmp_path, monkeypatch):
    path = tmp_path/'X.bin'
    path.write_bytes(bytes(9_000_000))
    class Small:
        path,removed = tmp_path,0
        def __init__(self, limit): self.limit = limit
        def remove(self): Small.removed += 1
    monkeypatch.setattr(large, 'SmallMemory', Small)
    monkeypatch.setattr(large, 'direct_reads', lambda *args: None)
    rates = dict.fromkeys(large.paper.names, [10]*2)|{OURS:[700]*2}
    kept = Record('', {})
    rounds = Rounds(_played(rates), str(path), kept, n=2)
    large.measure_case(rounds, large.paper, large.paper.names)
    assert list(kept.runs)==['rows of 1.2 MB uint8, file 9 times the memory (0.0 GB)']
    assert large.tutorial.share==2.85 and Small.removed==1
    runs = kept.runs.popitem()[1]
    assert {len(runs[name]) for name in large.paper.names}=={2} # every contender in every round
    large.check_memory(14)
    with pytest.raises(SystemExit, match='6.3 or more'): large.check_memory(2)
    with pytest.raises(SystemExit, match='0.10 GB'): large.check_memory(14, .1)
    Small.path = None
    with pytest.raises(SystemExit, match='cgroup'): large.check_memory(14)

def _small(tmp_path):
    np.zeros(2**20, 'u1').tofile(tmp_path/'X.npy')
    return dict(path=str(tmp_path/'X.npy'), row_bytes=4096, bs=8, secs=9, situation='warm')

@pytest.mark.parametrize('forks', [True,False] if FORKS else [False])
def test_runs_have_processes_of_their_own(tmp_path, capsys, forks):
    name = 'torch, 2 workers' if forks else 'torch, per item'
    with Processes(tmp_path, forks) as child:
        got = [child(name, **_small(tmp_path)) for _ in range(1+forks)]
        assert all(r[0].rate>0 for r in got) and not capsys.readouterr().err
        assert set(child.live)=={name}
    assert not child.live

def test_a_run_that_fails_says_so_and_the_others_go_on(tmp_path, capsys):
    job = _small(tmp_path)
    with Processes(tmp_path) as child:
        assert child('torch, per item', **{**job, 'no_such':1})==[]
        assert 'rows of 4096 B, failed' in (err := capsys.readouterr().err) and 'TypeError' in err
        assert child('torch, per item', **{**job, 'path':str(tmp_path/'none.npy')})==[]
        assert 'rows of 4096 B, failed' in (err := capsys.readouterr().err) and 'FileNotFoundError' in err
        assert child('torch, per item', 'no cgroup', **job)==[] # the run itself
        assert 'torch, per item' in (err := capsys.readouterr().err) and 'AttributeError' in err
        assert child('torch, per item', **job) and not capsys.readouterr().err
        if os.name=='nt': return # where a process that is killed has another status
        child.live['torch, per item'].process.kill()
        child.live['torch, per item'].process.join()
        assert child('torch, per item', **job)==[]
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
            with pytest.raises(KeyboardInterrupt):
                child('torch, per item', **{**job, 'secs':600, 'step':60, 'n_epochs':2})
                other.join()
        finally: signal.signal(signal.SIGINT, before)
        assert not using(log) and not child.live
        assert child('torch, per item', **job)
