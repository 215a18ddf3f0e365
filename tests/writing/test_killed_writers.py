"Killed at any moment: the old files or the new ones, and rows to go on with"
import random, signal, sys, time, warnings, numpy as np, pytest
from memmap_ts.disk.notes import note_path
from memmap_ts.store import open_memmap
from memmap_ts.write import MemmapWriter
from harness import long_or
from forked import forked
from writers import names, posix

@posix
@pytest.mark.parametrize('files', [1,2])
def test_begun_anew(files, tmp_path):
    "Who runs it again after a kill is told what there is; it is there until the first new row"
    fns = [tmp_path/'a.npy',tmp_path/'b.npy'][:files]
    p = forked('''
        import os, signal, sys
        from memmap_ts.write import MemmapWriter
        w = MemmapWriter({str(i):f for i,f in enumerate(sys.argv[1:])})
        w.append(**{k:range(1234) for k in w.fns})
        w.group.flush(w.rows)
        os.kill(os.getpid(), signal.SIGKILL)
    ''', *fns)
    assert p.wait()==-signal.SIGKILL
    parts = [f'{f.name}.part' for f in fns]
    assert names(tmp_path)==parts
    new = lambda **kw: MemmapWriter({str(i):f for i,f in enumerate(fns)}, **kw)
    told = lambda: pytest.warns(RuntimeWarning, match='1,234 rows.*resume=True')
    with told(), pytest.raises(KeyboardInterrupt), new(): raise KeyboardInterrupt
    with told(), pytest.raises(ValueError, match='nothing was appended'), new(): pass
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(RuntimeWarning): new()
    assert names(tmp_path)==parts
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(KeyboardInterrupt), new(resume=True) as w: assert w.rows==1234; raise KeyboardInterrupt
    with told(), pytest.raises(KeyboardInterrupt), new() as w: w.append(**{k:[7.5] for k in w.fns}); raise KeyboardInterrupt
    assert names(tmp_path)==[]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with new() as w: w.append(**{k:[7.5] for k in w.fns})
    assert [np.load(f).tolist() for f in fns]==[[7.5]]*files

writing = '''
    import sys, time, numpy as np
    from memmap_ts.write import MemmapWriter
    from memmap_ts.writing.sync import BackgroundSync
    BackgroundSync.every_bytes = 20_000
    d,seed = sys.argv[1],int(sys.argv[2])
    with MemmapWriter({'X':d+'/X.npy', 'y':d+'/y.npy'}, overwrite=True, resume=True) as w:
        print(w.rows, flush=True)
        for i in range(w.rows, 3000):
            w.append(X=np.full((1,100), i+seed, 'i4'), y=['y'*(1+i//500)])
            time.sleep(1e-4)
    print('done', flush=True)
'''

def check(d, seed):
    assert np.load(d/'X.npy')[:,7].tolist()==list(range(seed, 3000+seed))
    assert np.load(d/'y.npy').tolist()==['y'*(1+i//500) for i in range(3000)]

@posix
def test_slow_rows_are_safe_in_time(tmp_path):
    "A few rows now and then are safe after some seconds, whatever they weigh"
    code = """
        import os, signal, sys, time
        from memmap_ts.store import open_memmap
        from memmap_ts.write import MemmapWriter
        from memmap_ts.writing.sync import BackgroundSync
        BackgroundSync.every_seconds = .1
        w = MemmapWriter(sys.argv[1], resume=True)
        for i in range(20): w.append([i]); time.sleep(.05)
        for _ in range(600): # a flush that has begun may take its time on a busy disk
            part = sys.argv[1]+'.part'
            if os.path.getsize(part) and len(open_memmap(part)): break
            time.sleep(.1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert forked(code, tmp_path/'a.npy').wait()==-signal.SIGKILL
    with MemmapWriter(tmp_path/'a.npy', resume=True) as w:
        assert 0<w.rows<=20
        w.append(range(w.rows, 30))
    assert np.load(tmp_path/'a.npy').tolist()==list(range(30))

@posix
@pytest.mark.parametrize('seed', range(long_or(1, 100)))
def test_killed(seed, tmp_path):
    "Killed again and again, at any moment; then it finishes"
    p = forked(writing, tmp_path, 0); assert p.communicate()[0].endswith('done\n'); check(tmp_path, 0)
    r,starts,t = random.Random(seed),[],.15
    for k in range(12):
        p = forked(writing, tmp_path, 50)
        starts.append(int(p.stdout.readline()))
        time.sleep(r.random()*t)
        t *= 1.15 # where flushes are slow some rows get safe, too
        p.send_signal(signal.SIGKILL)
        out = p.communicate()[0]
        if 'done' in out or (np.load(tmp_path/'X.npy')[0,0]==50 and not list(tmp_path.glob('*.publish'))): break
        if not list(tmp_path.glob('*.publish')): check(tmp_path, 0) # the old pair, whole
    if 'done' not in out: # also if the pair is there: the next run may have published it, and been killed with new rows of its own
        p = forked(writing, tmp_path, 50); assert p.communicate()[0].endswith('done\n')
    check(tmp_path, 50)
    assert any(starts), 'no run went on with the rows of another'
    assert names(tmp_path)==['X.npy','y.npy']

@posix
@pytest.mark.parametrize('step', range(12))
def test_killed_while_publishing(step, tmp_path):
    "Killed before each system call that publishing is made of: the old pair, or the new one once somebody opens one of its files"
    for f in ('X','y'): np.save(tmp_path/f'{f}.npy', [0])
    code = '''
        import json, os, signal, sys
        from memmap_ts.write import MemmapWriter
        left = int(sys.argv[2])
        def deadly(f):
            def g(*a, **k):
                global left
                if armed:
                    if not left: os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return f(*a, **k)
            return g
        armed = False
        for m in ('replace','fsync','fdatasync','unlink'): setattr(os, m, deadly(getattr(os, m)))
        json.dumps = deadly(json.dumps)
        w = MemmapWriter({k:f'{sys.argv[1]}/{k}.npy' for k in 'Xy'}, overwrite=True)
        w.append(X=[1,2], y=[3,4])
        w.group.complete(w.rows)
        armed = True
        w.group.publish()
        print('done')
    '''
    p = forked(code, tmp_path, step)
    out,err = p.communicate()
    n_steps = 11 if sys.version_info>=(3,11) else 9 # before, `Path.unlink` does not go through `os`
    assert p.returncode==-signal.SIGKILL or step>=n_steps and 'done' in out, err
    now = [np.load(tmp_path/f'{f}.npy').tolist() for f in 'Xy']
    decided = step>=4 # the note that decides is complete
    if not decided: assert now==[[0],[0]]
    fns = {k:tmp_path/f'{k}.npy' for k in 'Xy'}
    assert open_memmap(tmp_path/'y.npy').tolist()==([3,4] if decided else [0]) # finishes what was decided
    assert [np.load(f).tolist() for f in fns.values()]==([[1,2],[3,4]] if decided else [[0],[0]])
    with pytest.raises(FileExistsError): MemmapWriter(fns)
    assert not any(note_path(f).exists() and note_path(f).stat().st_size for f in fns.values()) # an empty one may be anybody's
    with MemmapWriter(fns, overwrite=True) as w: w.append(X=[5], y=[6])
    assert names(tmp_path)==['X.npy','y.npy']

@posix
def test_ctrl_c(tmp_path):
    p = forked('''
        import sys, time, numpy as np
        from memmap_ts.write import to_memmap
        def slow():
            for i in range(1000): print(i, flush=True); yield np.zeros((1000,100)); time.sleep(.02)
        to_memmap(slow(), sys.argv[1]+'/a.npy', progress=False)
    ''', tmp_path)
    for _ in range(3): p.stdout.readline()
    p.send_signal(signal.SIGINT)
    assert 'KeyboardInterrupt' in p.communicate()[1]
    assert names(tmp_path)==[]
