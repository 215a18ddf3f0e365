"All processes of a launch run the line that writes a file: one writes, the others wait and take it"
import errno, os, numpy as np, pandas as pd, pytest
from memmap_ts.disk.launch import Patience
from memmap_ts.disk.turns import Turn
from memmap_ts.store import create_memmap, open_memmap
from memmap_ts.write import MemmapWriter, to_memmap
from memmap_ts.writing.follow import MadeFile
from siblings import chunks
from writers import X, labels, names, need, posix, to

pytestmark = posix

def got(fn): return os.stat(fn).st_ino,np.load(fn).tolist()

def write(me, fn, values, halfway=False, **kwargs):
    "Write rows 0…3 (times `values`), perhaps with a stop after the first chunk"
    rows = [np.arange(2)*values,np.arange(2,4)*values]
    to_memmap(chunks(me, rows) if halfway else rows, fn, stack=False, progress=False, **kwargs)
    return got(fn)

# One writes

@pytest.mark.parametrize('overwrite', [False, True])
def test_early(overwrite, tmp_path, start, monkeypatch, capfd):
    "All come while the first one writes; whoever waits says so"
    monkeypatch.setattr(Patience, 'told_after_seconds', 0)
    fn = tmp_path/'X.npy'
    if overwrite: np.save(fn, [7])
    first = start(0, write, fn, 1, halfway=True, overwrite=overwrite)
    first.hear('half')
    others = [start(r, write, fn, 1, overwrite=overwrite) for r in (1,2,3)]
    for r in others: r.hear('waits')
    first.tell('go')
    made = first.result()
    assert made[1]==[0,1,2,3] and all(r.result()==made for r in others)
    told = capfd.readouterr().err
    assert all(f'rank {r} waits for another process of this launch, which is at {fn}' in told for r in (1,2,3)) and 'rank 0' not in told
    for r in (first,*others): r.end()
    assert names(tmp_path)==['X.npy']

def test_late(tmp_path, start):
    "The others come when the first one has written, and goes on with something else"
    for i,overwrite in enumerate((False, True)):
        fn = tmp_path/f'{i}.npy'
        made = start(0, write, fn, 1, overwrite=overwrite).result()
        for r in (1,2): assert start(r, write, fn, 1, overwrite=overwrite).result()==made

@pytest.mark.parametrize('overwrite', [False, True])
def test_just_named(overwrite, tmp_path, start):
    "The file has its name, and is not locked any more; that it is made is not said yet"
    fn,made = tmp_path/'X.npy',Turn.made
    def halted(me):
        def late(*args): me.tell('named'); me.hear('go'); made(*args)
        Turn.made = late
        return write(me, fn, 1, overwrite=overwrite)
    first = start(0, halted)
    first.hear('named')
    second = start(1, write, fn, 1, overwrite=overwrite)
    second.hear('waits')
    first.tell('go')
    assert first.result()==second.result()

def test_changed_since(tmp_path, start):
    "What was made, and written to later, is not what it was"
    fn = tmp_path/'X.npy'
    def change(me):
        write(me, fn, 1)
        os.truncate(fn, os.path.getsize(fn)+1)
    start(0, change).result()
    with pytest.raises(FileExistsError, match='X.npy exists'): start(1, write, fn, 1).result()

def both(me, fns, halfway=False, **kwargs):
    "X and labels, which grow; in chunks of another size in each process"
    with MemmapWriter(fns, **kwargs) as w:
        for i in range(w.rows, len(X), 20+me.rank):
            if halfway and i>50: halfway = False; me.tell('half'); me.hear('go')
            w.append(X=X[i:i+20+me.rank], y=labels[i:i+20+me.rank].tolist())
        if w.rows: assert w.last_rows('y', 3).tolist()==labels[-3:].tolist()
    with pytest.raises((ValueError,FileExistsError), match='closed|finished'): w.append(X=X, y=labels)
    return [got(fn) for fn in fns.values()]

@pytest.mark.parametrize('resume', [False, True])
def test_writer(resume, tmp_path, start):
    fns = {k:tmp_path/f'{k}.npy' for k in 'Xy'}
    first = start(0, both, fns, halfway=True, resume=resume)
    first.hear('half')
    second = start(1, both, fns, resume=resume)
    second.hear('waits')
    first.tell('go')
    made = first.result()
    assert made[0][1]==X.tolist() and made[1][1]==labels.tolist() and second.result()==made
    assert start(2, both, fns, resume=resume).result()==made

def test_a_path_each(tmp_path, start):
    "Nobody waits: all are in the middle at the same time"
    ranks = [start(r, write, tmp_path/f'part{r}.npy', r, halfway=True) for r in range(3)]
    for r in ranks: r.hear('half')
    for r in ranks: r.tell('go')
    for r in ranks: assert r.result()[1]==[0,r.rank,2*r.rank,3*r.rank]

@pytest.mark.parametrize('kind', ['csv','frame','dask'])
def test_other_sources(kind, tmp_path, start):
    fn,y_fn = tmp_path/'X.npy',tmp_path/'y.npy'
    df = pd.DataFrame({'a':X[:,0,0], 'b':X[:,1,1], 'label':labels})
    df.to_csv(tmp_path/'t.csv', index=False)
    def convert(me):
        if kind=='dask':
            with need('dask').config.set(scheduler='sync'): # a fork has no threads of the pool that its parent may have
                to(need('dask.array').from_array(X, chunks=(40,2,4)), tmp_path, 'X.npy')
            return got(fn)
        to(df if kind=='frame' else tmp_path/'t.csv', tmp_path, 'X.npy', y_fn=y_fn, target_col='label')
        return got(fn),got(y_fn)
    if kind=='dask': need('dask')
    made = start(0, convert).result()
    assert start(1, convert).result()==made

# Other rows are an error

def test_other_rows(tmp_path, start):
    "Each process has a share of its own, or the same rows and some more, or fewer: nothing is lost without a word"
    fn = tmp_path/'X.npy'
    made = start(0, write, fn, 1).result()
    def append(me, rows, **kwargs):
        with MemmapWriter(fn, overwrite=True, **kwargs) as w:
            for o in rows: w.append(o)
    cases = {'other values in rows 0 to 1': [[0,2]], 'other values in rows 2 to 3': [[0,1],[2,4]], 'has 4 rows, this process 2': [[0,1]],
             'has 4 rows, this process at least 5': [[0,1,2],[3,4]], r'int64 \(\), those of this process are of float64': [[0.,1.]],
             r'those of this process are of int64 \(2,\)': [[[0,1]]]}
    for r,(told,rows) in enumerate(cases.items(), 1):
        with pytest.raises(ValueError, match=f'X.npy was made by another process of this launch, and.*{told}.*if rank==0'):
            start(r, append, rows).result()
    assert got(fn)==made
    with pytest.raises(FileExistsError, match='dtype int64, not float32'): start(7, append, [[0,1,2,3]], dtype='f4').result()

def test_the_same_source(tmp_path, start, monkeypatch):
    "Files that are the same need not be read again; changed ones are"
    src,fn = tmp_path/'src.npy',tmp_path/'X.npy'
    np.save(src, X)
    def convert(me, src, **kwargs): return got(to_memmap(src, fn, progress=False, **kwargs).filename)
    made = start(0, convert, src).result()
    def refuses(*args): raise AssertionError('compared')
    monkeypatch.setattr(MadeFile, 'compare', refuses)
    assert start(1, convert, src).result()==made
    for case in (dict(src=open_memmap(src)), dict(src=X), dict(src=src, dtype='f4'), dict(src=src, casting='unsafe')):
        with pytest.raises(AssertionError, match='compared'): start(2, convert, **case).result()
    np.save(src, X+1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match='other values'): start(3, convert, src).result()

# The one that writes ends before it is done

@pytest.mark.parametrize('resume', [False, True])
def test_killed(resume, tmp_path, start):
    "The next one goes on, or begins anew, as after any kill"
    fns = {k:tmp_path/f'{k}.npy' for k in 'Xy'}
    first = start(0, halted, fns, resume=resume)
    first.hear('half')
    second = start(1, halted, fns, resume=resume, go_on=True)
    second.hear('waits')
    first.kill()
    n_rows,warned,*made = second.result()
    assert n_rows==(40 if resume else 0) and ['lost with the first rows' in str(o) for o in warned]==[True]*(not resume)
    assert [o[1] for o in made]==[X.tolist(),labels.tolist()]
    second.end()
    assert names(tmp_path)==['X.npy','y.npy'] # the note of the one that was killed is gone, too

def halted(me, fns, resume, go_on=False):
    with MemmapWriter(fns, resume=resume) as w:
        n_rows = w.rows
        if not go_on:
            w.append(X=X[:40], y=labels[:40])
            w.group.flush(w.rows)
            me.tell('half'); me.hear('go')
        w.append(X=X[n_rows:], y=labels[n_rows:])
    return n_rows,[o.message for o in me.warned],*[got(fn) for fn in fns.values()]

def test_failed(tmp_path, start):
    fn = tmp_path/'X.npy'
    def fails(me):
        with MemmapWriter(fn) as w: w.append([1]); me.tell('half'); me.hear('go'); raise OSError('no source')
    first = start(0, fails)
    first.hear('half')
    second = start(1, write, fn, 1)
    second.hear('waits')
    first.tell('go')
    with pytest.raises(OSError, match='no source'): first.result()
    assert second.result()[1]==[0,1,2,3]

def test_nothing_said(tmp_path, start, monkeypatch):
    "It has the name, and then no note can be written: who waits takes it for a file like any other"
    fn = tmp_path/'X.npy'
    def fails(*args): raise OSError('disk full')
    with monkeypatch.context() as m:
        m.setattr(Turn, 'made', fails)
        with pytest.raises(OSError, match='disk full'): start(0, write, fn, 1).result()
    with pytest.raises(FileExistsError, match='X.npy exists'): start(1, write, fn, 1).result()
    assert start(2, write, fn, 2, overwrite=True).result()[1]==[0,2,4,6]

def test_no_locks(tmp_path, start, monkeypatch):
    "Nothing would keep two processes apart: the second one gets an error, and each may have a path of its own"
    def none(*args): raise OSError(errno.ENOSYS, 'Function not implemented')
    monkeypatch.setattr('fcntl.flock', none)
    fn = tmp_path/'X.npy'
    first = start(0, write, fn, 1, halfway=True)
    first.hear('half')
    with pytest.raises(OSError, match='has no locks, and another process of this launch writes it, too.*if rank==0.*rank0-'):
        start(1, write, fn, 1).result()
    assert start(2, write, tmp_path/'part2.npy', 2).result()[1]==[0,2,4,6]
    first.tell('go')
    assert first.result()[1]==[0,1,2,3]

# Several times, and several launches

def folds(me, fn, n):
    "The same name for each fold"
    for fold in range(n):
        me.hear('go')
        me.tell('made', write(me, fn, fold//2, overwrite=True))

def test_a_name_used_again(tmp_path, start):
    "The same cell twice, a loop over folds: each is made once, and each process gets each of them, who ever comes first"
    fn = tmp_path/'X.npy'
    np.save(fn, [7]) # of yesterday
    ranks,before = [start(r, folds, fn, 6) for r in (0,1)],None
    for fold,first in enumerate((0,0,1,1,0,0)):
        made = []
        for r in (first,1-first):
            ranks[r].tell('go')
            made.append(ranks[r].hear('made'))
        assert made[0]==made[1] and made[0][1]==[0,fold//2,fold//2*2,fold//2*3] and made[0][0]!=before
        before = made[0][0]
    with pytest.raises(FileExistsError, match='X.npy exists'): start(0, folds_end, fn, ranks).result()

def folds_end(me, fn, ranks):
    for r in ranks: r.tell('end')
    for r in ranks: r.hear('done')
    while names(fn.parent)!=['X.npy']: os.sched_yield()
    return write(me, fn, 1)

def test_another_launch(tmp_path, start, monkeypatch):
    "What an earlier launch has made is a file like any other: after its end, after a kill, and while it goes on"
    fn = tmp_path/'X.npy'
    def again(value):
        r = start(1, write, fn, value, overwrite=True)
        assert r.result()[1]==[0,value,2*value,3*value]
        return r
    again(1).end()
    r = again(2)
    r.kill()
    assert len(names(tmp_path))==2 # its note
    r = again(3)
    assert len(names(tmp_path))==2
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'another')
    again(4)
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'a third')
    with pytest.raises(FileExistsError, match='exists'): start(0, write, fn, 4).result()

def test_the_same_number(tmp_path, start, monkeypatch):
    "Processes of two launches, on two machines that share a disk, may have the same rank and number"
    fn = tmp_path/'X.npy'
    def seventh(*args, **kwargs):
        os.getpid = lambda: 7
        return write(*args, **kwargs)
    for i in range(2):
        monkeypatch.setenv('TORCHELASTIC_RUN_ID', str(i))
        assert start(0, seventh, fn, i, overwrite=True).result()[1]==[0,i,2*i,3*i]

def test_name_like_that_of_a_note(tmp_path, start):
    "Who writes X.npy does not wait for the one that writes X.npy.rank1"
    other = start(1, write, tmp_path/'X.npy.rank1', 1, halfway=True)
    other.hear('half')
    assert start(0, write, tmp_path/'X.npy', 1).result()[1]==[0,1,2,3]
    other.tell('go')
    assert other.result()[1]==[0,1,2,3]

# Without a launch, nothing changes

def test_alone(tmp_path, start):
    "One wins, the others get an error at once; in a launch, too, if it is no process of it that writes"
    fn = tmp_path/'X.npy'
    writer = start(0, write, fn, 1, halfway=True, world_size=1)
    writer.hear('half')
    assert names(tmp_path)==['X.npy.part']
    for n in (1,2):
        with pytest.raises(BlockingIOError, match='X.npy.part is being written by another'):
            start(0, write, fn, 1, world_size=n).result()
    writer.tell('go')
    writer.result()
    assert names(tmp_path)==['X.npy']
    with pytest.raises(FileExistsError, match='X.npy exists'): start(0, write, fn, 1, world_size=1).result()

def test_twice_in_one_process(tmp_path, start):
    "The second writer is an error, as ever; the first one goes on, and others wait for it"
    fn = tmp_path/'X.npy'
    def twice(me):
        with MemmapWriter(fn) as w:
            w.append([0])
            with pytest.raises(BlockingIOError, match='another writer of this process is at it, with 1 rows'): MemmapWriter(fn)
            me.tell('half'); me.hear('go')
            w.append([1,2,3])
        return got(fn)
    first = start(0, twice)
    first.hear('half')
    second = start(1, write, fn, 1)
    second.hear('waits')
    first.tell('go')
    assert first.result()==second.result()

# Zeros to write into

def create(me, fn, shape, **kwargs):
    a = create_memmap(fn, shape, 'f4', **kwargs)
    assert a.mode=='r+'
    a[me.rank] = me.rank+1
    me.tell('wrote'); me.hear('go')
    return os.stat(fn).st_ino,a.tolist()

@pytest.mark.parametrize('overwrite', [False, True])
def test_create(overwrite, tmp_path, start):
    "One makes the zeros, and what it has written by then stays; all have the same file"
    fn = tmp_path/'X.npy'
    if overwrite: np.save(fn, [7])
    ranks = [start(r, create, fn, 3, overwrite=overwrite) for r in range(2)] # at once
    for r in ranks: r.hear('wrote')
    ranks.append(start(2, create, fn, 3, overwrite=overwrite)) # later
    ranks[2].hear('wrote')
    for r in ranks: r.tell('go')
    made = [r.result() for r in ranks]
    assert made==[(os.stat(fn).st_ino,[1,2,3])]*3
    with pytest.raises(ValueError, match=r'of shape \(3,\) and dtype float32, not \(4,\)'): start(3, create, fn, 4).result()
    for r in ranks: r.end()
    assert names(tmp_path)==['X.npy']

def test_create_again(tmp_path, start):
    "Zeros anew are zeros, for the one that comes first; who has missed some is told so; another one's file stays"
    fn = tmp_path/'X.npy'
    def create(me):
        for i in (1,2):
            me.hear('go')
            a = create_memmap(fn, 2, overwrite=i>1)
            had = a.tolist()
            a[me.rank] = i
            me.tell('had', had)
    ranks = [start(r, create) for r in (0,1)]
    def next(r): ranks[r].tell('go'); return ranks[r].hear('had')
    assert [next(r) for r in (0,1,1,0)]==[[0,0],[1,0],[0,0],[0,2]]
    for r in ranks: r.result()
    with pytest.raises(ValueError, match='X.npy was made anew.*barrier'): start(2, lambda me: create_memmap(fn, 2)).result()
    for r in ranks: r.end()
    assert names(tmp_path)==['X.npy']

def test_created_and_replaced(tmp_path, start):
    fn = tmp_path/'X.npy'
    start(0, lambda me: create_memmap(fn, 2).tolist()).result()
    np.save(tmp_path/'other.npy', np.ones(2, 'f4'))
    os.replace(tmp_path/'other.npy', fn)
    with pytest.raises(FileExistsError, match='X.npy exists'): start(1, lambda me: create_memmap(fn, 2)).result()
