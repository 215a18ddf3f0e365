"Samples of any length on their way to two files: whole or not there, resumed, refused, from arrays, files and tables"
import signal, tracemalloc, numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from memmap_ts.collect import ragged
from memmap_ts.ragged import RaggedWriter, to_ragged
from memmap_ts.store import open_memmap
from memmap_ts.writing.sync import BackgroundSync
from writers import names, need, posix, python, rng

def files(path): return path/'values.npy',path/'lengths.npy'
def opened(path): return ragged(*map(open_memmap, files(path)))
def sample(n, vars=2): return rng.normal(size=(vars,n)).astype('f4')
def to(samples, path, **kwargs): return to_ragged(samples, *files(path), progress=False, **kwargs)

def same(R, samples):
    "Has `R` these samples, in the dtype of the first?"
    assert len(R)==len(samples)
    for got,x in zip(R, samples, strict=True):
        assert got.dtype==samples[0].dtype and got.shape==x.shape
        np.testing.assert_array_equal(got, x)

runs = st.lists(st.tuples(st.lists(st.lists(st.integers(1, 9), max_size=4), max_size=4), st.booleans()), min_size=1, max_size=4)

@settings(max_examples=60, deadline=None)
@given(runs=runs, vars=st.integers(0, 3), every_bytes=st.sampled_from([1,100,2**27]))
def test_any_lists_in_any_runs(runs, vars, every_bytes, tmp_path_factory):
    "Lists of any number of samples, by runs of which some fail: what was appended, and nothing else"
    path,samples,before = tmp_path_factory.mktemp('runs'),[],BackgroundSync.every_bytes
    BackgroundSync.every_bytes = every_bytes
    try:
        for lists,fails in [*runs,([[1]],False)]:
            try:
                with RaggedWriter(*files(path), resume=True) as w:
                    assert w.rows==len(samples)
                    for lengths in lists:
                        some = [sample(n, vars) if vars else np.arange(n) for n in lengths]
                        if some or samples: w.append(some)
                        samples += some
                    if fails or not samples: raise KeyboardInterrupt
                    break
            except KeyboardInterrupt: assert not any(f.exists() for f in files(path))
        same(opened(path), samples)
        assert names(path)==['lengths.npy','values.npy']
    finally: BackgroundSync.every_bytes = before

@pytest.mark.parametrize('ahead', ['lengths','values'])
def test_whole_samples_of_a_killed_run(ahead, tmp_path):
    "One of the files has a sample that the other one has not: it does not count"
    samples = [sample(n) for n in (3,1,4)]
    w = RaggedWriter(*files(tmp_path), resume=True)
    w.append(samples[:2])
    w.group.flush(2)
    w.append([samples[2]*7])
    w.group.parts[ahead].write_header(3)
    w.group.sync.failed = OSError('gone') # so that `abort` does not flush
    w.abort()
    with RaggedWriter(*files(tmp_path), resume=True) as w:
        assert w.rows==2
        w.append(samples[2:])
    same(opened(tmp_path), samples)

killed = '''
    import sys, numpy as np
    from memmap_ts.ragged import to_ragged
    from memmap_ts.writing.recordings import SampleBatch
    from memmap_ts.writing.sync import BackgroundSync
    BackgroundSync.every_bytes,SampleBatch.most_bytes = 3000,1000
    def samples():
        for i in range(5000):
            if i%500==0: print(i, flush=True)
            yield np.full((2,1+i%7), i, 'i4')
    to_ragged(samples(), sys.argv[1]+'/values.npy', sys.argv[1]+'/lengths.npy', resume=True, progress=False)
    print('done', flush=True)
'''

@posix
def test_killed(tmp_path):
    "Killed, and run again: whole samples are gone on with, each in its place"
    for at in ('1500','3500'):
        p = python(killed, tmp_path)
        for line in p.stdout:
            if line.strip()==at: break
        p.send_signal(signal.SIGKILL)
        p.communicate()
        assert not files(tmp_path)[0].exists()
    with RaggedWriter(*files(tmp_path), resume=True) as w:
        assert 1000<w.rows<5000
        w.append([np.full((2,1+i%7), i, 'i4') for i in range(w.rows, 5000)])
    same(opened(tmp_path), [np.full((2,1+i%7), i, 'i4') for i in range(5000)])

# What is refused

@pytest.mark.parametrize('odd,what', [
    (sample(3, 5), 'sample 7: it has 5 variables, and the first sample 2'), (np.ones(3, 'f4'), 'sample 7: it has no axis of variables'),
    (sample(0), 'sample 7: it has no values'), (sample(3).astype('f8')*1e300, 'sample 7: .* does not fit dtype float32'),
    (sample(3)[None], r'sample 7: its shape is \(1, 2, 3\)'), (np.array([['a']]), 'sample 7: its dtype is <U1'), (sample(3)*1j, 'sample 7: its dtype is complex64: samples are of real'), (np.float32(1), 'sample 7: a chunk')])
def test_an_odd_sample(odd, what, tmp_path):
    samples = [*(sample(n+1) for n in range(7)),odd,sample(2)]
    with pytest.raises((ValueError,TypeError), match=what): to(iter(samples), tmp_path)
    assert names(tmp_path)==[]
    with RaggedWriter(*files(tmp_path)) as w:
        w.append(samples[:3])
        with pytest.raises((ValueError,TypeError), match=what): w.append(samples[3:])
        w.append(samples[3:7])
    same(opened(tmp_path), samples[:7])

def test_a_list_that_failed_is_not_forgotten(tmp_path):
    w = RaggedWriter(*files(tmp_path))
    w.append([sample(3)])
    with pytest.raises(ValueError, match='3 variables'): w.append([sample(2),sample(2, 3)])
    with pytest.raises(ValueError, match=r'1 samples before it were.*`\[\]`'): w.close()
    w.append([])
    w.close()
    assert opened(tmp_path).lengths.tolist()==[3]

def test_what_comes_out_of_nothing(tmp_path):
    for make in (lambda: to([], tmp_path), lambda: to(iter(()), tmp_path), lambda: RaggedWriter(*files(tmp_path)).close()):
        with pytest.raises(ValueError, match='no samples for .*values.npy'): make()
    assert names(tmp_path)==[]

@pytest.mark.parametrize('resume', [False, True])
def test_a_generator_that_fails(resume, tmp_path):
    "What it gave before is there to go on with, if that was said; it may use its memory again"
    def made(n):
        x = np.empty((2,9), 'f4')
        for i in range(n):
            x[:] = i
            yield x[:,:i+1]
            if i==4==n-2: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): to(made(6), tmp_path, resume=resume)
    assert names(tmp_path)==(['lengths.npy.part','values.npy.part'] if resume else [])
    if resume:
        with RaggedWriter(*files(tmp_path), resume=True) as w: assert w.rows==5; w.append([np.full((2,6), 5, 'f4')])
    else: to(made(5), tmp_path); return
    same(opened(tmp_path), [np.full((2,i+1), i, 'f4') for i in range(6)])

def test_resumed_with_fewer(tmp_path):
    with RaggedWriter(*files(tmp_path), resume=True) as w: w.append([sample(1)]*3); w.resume = True; w.group.flush(3); w.abort()
    with pytest.raises(ValueError, match='left 3 samples, and these are 2'): to([sample(1)]*2, tmp_path, resume=True)

def test_files_that_are_no_pair(tmp_path):
    "An array without its lengths is not taken for finished"
    to([sample(3),sample(2)], tmp_path)
    np.save(files(tmp_path)[1], np.array([3,1]))
    with pytest.raises(FileExistsError, match='overwrite=True'): RaggedWriter(*files(tmp_path), resume=True)
    same(to([sample(4)], tmp_path, overwrite=True), [opened(tmp_path)[0]])

def test_dtypes(tmp_path):
    "That of the first sample, or the one that is asked for; never that of a part of the samples"
    x = np.array([[1.,2.5]])
    same(to([x.astype('f4'),x], tmp_path), [x.astype('f4')]*2)
    same(to([x,x.astype('f4')], tmp_path, dtype='f2', overwrite=True), [x.astype('f2')]*2)
    with pytest.raises(ValueError, match='sample 1: .*2.5'): to([x.astype('i4'),x], tmp_path, overwrite=True)
    same(to([x.astype('i4'),x], tmp_path, casting='unsafe', overwrite=True), [x.astype('i4')]*2)

def test_memory(tmp_path):
    "Some megabytes, however much is written"
    x = rng.normal(size=(4,50_000)).astype('f4') # 800 kB
    tracemalloc.start()
    try:
        R = to((x for _ in range(80)), tmp_path)
        assert R.base.nbytes>60e6 and tracemalloc.get_traced_memory()[1]<16e6
    finally: tracemalloc.stop()

# Files and tables

def tables(path, lengths, **kwargs):
    "CSV files of so many rows, in a folder; and what is in them"
    dfs = [pd.DataFrame({'x':rng.normal(size=n), 'y':rng.integers(9, size=n)}) for n in lengths]
    for i,df in enumerate(dfs): df.to_csv(path/f'part{i}.csv', index=False, **kwargs)
    return dfs

def test_folders(tmp_path):
    "In natural order, as pandas reads them; the columns of the first file"
    d = tmp_path/'in'; d.mkdir()
    dfs = tables(d, [*range(1, 12)], sep=';', decimal=',')
    dfs[3][['y','x']].to_csv(d/'part3.csv', index=False, sep=';', decimal=',')
    R = to(str(d/'*.csv'), tmp_path, sep=';', decimal=',')
    same(R, [df.to_numpy().T for df in dfs])
    only = to([*(d/f'part{i}.csv' for i in range(3))], tmp_path, sep=';', decimal=',', data_cols='x', overwrite=True)
    same(only, [df[['x']].to_numpy().T for df in dfs[:3]])
    same(to(dfs, tmp_path, overwrite=True), [df.to_numpy().T for df in dfs])
    with RaggedWriter(*files(tmp_path), overwrite=True, resume=True) as w:
        w.append(dfs[:4]); w.abort()
    (d/'part3.csv').write_text('not read again')
    same(to(d/'*.csv', tmp_path, sep=';', decimal=',', resume=True, overwrite=True), [df.to_numpy().T for df in dfs])

def test_a_column_that_counts_is_told_once(tmp_path):
    "Of many files"
    d = tmp_path/'in'; d.mkdir()
    for i in range(4): (d/f'part{i}.csv').write_text('t,x\n'+''.join(f'{t},{t/2}\n' for t in range(12+i)))
    with pytest.warns(RuntimeWarning, match="'t' counts the rows") as ws: to(d/'*.csv', tmp_path)
    assert len(ws)==1
    for i in range(4): (d/f'part{i}.csv').write_text(',x\n'+''.join(f'{t},{t/2}\n' for t in range(12+i)))
    with pytest.raises(ValueError, match="part0.csv: column 'Unnamed: 0' numbers the rows.*index_col=0"): to(d/'*.csv', tmp_path, overwrite=True)

@pytest.mark.parametrize('text,what', [('x\n1\n', r"part2.csv lacks \['y'\].*\['x', 'y'\]"), ('x,y,z\n1,2,3\n', r"part2.csv has also \['z'\]"),
    ('x,y\n1,a\n', "part2.csv, about line 2: column 'y' does not hold numbers"), ('x,y\n1,2,3\n', 'part2.csv, line 2'), ('x,y\n', 'part2.csv: it has no values')])
def test_an_odd_file(text, what, tmp_path):
    d = tmp_path/'in'; d.mkdir()
    tables(d, [2,1,3])
    (d/'part2.csv').write_text(text)
    with pytest.raises(ValueError, match=what): to(d/'*.csv', tmp_path)
    assert names(tmp_path)==['in']

def test_arrays_in_files(tmp_path):
    samples = [sample(n) for n in (3,1)]
    fns = [tmp_path/f'{i}.npy' for i in range(2)]
    for fn,x in zip(fns, samples, strict=True): np.save(fn, x.T)
    same(to(fns, tmp_path, transpose=True), samples)
    np.save(fns[1], np.ones((1,3), 'f4'))
    with pytest.raises(ValueError, match='1.npy: it has 3 variables'): to(fns, tmp_path, transpose=True, overwrite=True)
    (tmp_path/'back').mkdir()
    same(to(opened(tmp_path)[::-1], tmp_path/'back'), samples[::-1])
    of_steps = to([x[0] for x in samples], tmp_path, overwrite=True)
    same(to(of_steps[1:], tmp_path/'back', overwrite=True), [samples[1][0]])

@pytest.mark.parametrize('kind', ['frame','csv','parquet'])
def test_one_table(kind, tmp_path):
    "As pandas groups it, also where a sample lies across the parts that are read at a time"
    n = rng.integers(1, 9, 40)
    df = pd.DataFrame({'x':np.arange(n.sum()), 't':-np.arange(n.sum()), 'y':rng.normal(size=n.sum()), 'who':np.repeat(np.arange(40), n)})
    groups = [o.sort_values('t')[['x','y']].to_numpy().T for _,o in df.groupby('who')]
    if kind=='parquet': need('pyarrow')
    src = df.sample(frac=1, random_state=0) if kind=='frame' else tmp_path/f't.{kind}'
    if kind=='csv': df.to_csv(src, index=False)
    if kind=='parquet': df.to_parquet(src, index=False)
    same(to(src, tmp_path, sample_col='who', sort_by='t'), groups)
    with RaggedWriter(*files(tmp_path), overwrite=True, resume=True) as w: w.append(groups[:13]); w.abort()
    same(to(src, tmp_path, sample_col='who', sort_by='t', resume=True, overwrite=True), groups)

# On several processes

def write(me, path, samples): return to(samples, path).lengths.tolist()

@posix
def test_several_processes(tmp_path, start):
    "One writes, the other compares what it has, or takes the files that they have in common"
    assert start(0, write, tmp_path, [sample(n) for n in (3,1,2)]).result()==[3,1,2]
    samples = [np.array(x) for x in opened(tmp_path)]
    assert start(1, write, tmp_path, iter(samples)).result()==[3,1,2]
    with pytest.raises(ValueError, match='values.npy .* other values in rows 0 to 5'):
        start(2, write, tmp_path, [*samples[:2],samples[2]*2]).result()
    with pytest.raises(ValueError, match='lengths.npy .* other values'): start(3, write, tmp_path, samples[::-1]).result()
