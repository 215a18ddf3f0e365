"Samples of any length: what is said of them, what is read of files, crops, windows, what happens meanwhile"
import os, pickle, time, numpy as np, pytest
from concurrent.futures import ThreadPoolExecutor
from hypothesis import HealthCheck, given, settings, strategies as st
from memmap_ts.all import *
from memmap_ts.collect import open_memmaps, ragged
from memmap_ts.data.padded import PadRule, Padded, drawn
from memmap_ts.data.runreader import DirectRunReads, RunReads
from memmap_ts.io.linux import Linux
from memmap_ts.io.portable import Portable
from memmap_ts.io.sweep import Sweep
from memmap_ts.io.system import system
from memmap_ts.work.background import announced_ahead
from harness import long_or

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory and has direct reads')
rng = np.random.default_rng(0)

def samples(n, n_vars=3, most=40, dtype='f4', seed=0):
    "Lengths, and all steps"
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, most, n)
    return lengths,rng.integers(0, 100, (lengths.sum(),n_vars)).astype(dtype)

def rows_of(values, lengths): return [o.T for o in np.split(values, np.cumsum(lengths)[:-1])]

def padded(rows, rule, longest=None):
    "What a batch should be, made one by one"
    rows = [o[...,:rule.max_len] if rule.keep=='start' or rule.max_len is None else o[...,-rule.max_len:] for o in rows]
    longest = longest or max(o.shape[-1] for o in rows)
    out = np.full((len(rows),*rows[0].shape[:-1],longest), rule.value, rows[0].dtype)
    for x,o in zip(out, rows):
        n = o.shape[-1]
        x[...,slice(n) if rule.side=='end' else slice(longest-n, None)] = o
    return out

def read_epoch(source, order, bs, key=0):
    "All batches, announced ahead, and the reads"
    batches = [order[i:i+bs] for i in range(0, len(order), bs)]
    reads = source.reader().epoch(len(order), order, batches[0], key)
    tickets = [reads.announce(b) for b in batches]
    got = [reads.read(b, None, t) for b,t in zip(batches, tickets)]
    reads.close()
    return got,reads

# what is said of them

values = np.zeros((10,2), 'f4')
@pytest.mark.parametrize('kw,err,words', [
    (dict(), TypeError, 'lengths or offsets'), (dict(lengths=[3,3]), ValueError, 'add up to 6 steps, and values of shape .* have 10. .*offsets='),
    (dict(lengths=[4,0,6]), ValueError, r'lengths\[1\] is 0: sample 1 has no steps. Leave'), (dict(lengths=[12,-2]), ValueError, r'lengths\[1\] is -2'),
    (dict(lengths=[5.,5.]), TypeError, r"dtype float64.*astype\('int64'\)"), (dict(lengths=[[5,5]]), ValueError, 'one number for each sample'),
    (dict(lengths=[1,1]), ValueError, 'pass values.T'), (dict(lengths=[3,7,10]), ValueError, 'pass them as offsets='), (dict(lengths=['5','5']), TypeError, 'dtype <U1'),
    (dict(offsets=[0,5,3,10]), ValueError, r'offsets\[2\] is 3, after 5: .*argsort'), (dict(offsets=[0,5,5,10]), ValueError, r'lengths\[1\] is 0'),
    (dict(offsets=[0,5]), ValueError, 'last of offsets is 5, and values have 10.*lengths='), (dict(offsets=[0,5,11]), ValueError, 'last of offsets is 11'),
    (dict(offsets=[]), ValueError, 'is empty'), (dict(offsets=[-1,10]), ValueError, r'offsets\[0\] is -1'), (dict(offsets=[0.,10]), TypeError, 'offsets is of dtype float64'),
    (dict(lengths=[5,5], offsets=[0,5,10]), ValueError, 'offsets has 3 numbers, and lengths 2'), (dict(lengths=[5,3], offsets=[0,4]), ValueError, r'samples 0 and 1 share steps'),
    (dict(lengths=[5,5], offsets=[0,6]), ValueError, 'sample 1 ends before step 11'), (dict(lengths=[2,2], offsets=[6,0]), ValueError, 'after 6'),
    (dict(lengths=[], offsets=[]), ValueError, 'no samples'), (dict(lengths='no.npy'), FileNotFoundError, 'no.npy')], ids=str)
def test_what_does_not_fit(kw, err, words):
    with pytest.raises(err, match=words): ragged(values, **kw)

@pytest.mark.parametrize('bad,err,words', [(np.zeros((2,3,4)), ValueError, 'one series is'), (np.zeros((4,1), complex), TypeError, 'real numbers'), (np.zeros((0,2)), ValueError, 'no values'),
                                           ([np.zeros((3,2)),np.zeros((2,2))], TypeError, 'to_ragged.*np.concatenate'), (np.array([None]*4), TypeError, 'real numbers'), ('no.npy', FileNotFoundError, 'no.npy')], ids=range(6))
def test_other_values(bad, err, words):
    with pytest.raises(err, match=words): ragged(bad, [4])

def test_files_without_steps(tmp_path):
    for k in (3,0,2): np.save(tmp_path/f'{k}.npy', np.zeros((k,2)))
    with pytest.raises(ValueError, match='^0.npy has no steps: leave it out'): ragged(open_memmaps(tmp_path/'*.npy'))
    assert ragged(open_memmaps(tmp_path/'*.npy'), [1,4]).lengths.tolist()==[1,4]

def test_steps_that_belong_to_none():
    a = np.arange(10.)
    assert [o.tolist() for o in ragged(a, offsets=[4,6,10])[[0,1]]]==[[4,5],[6,7,8,9]]
    for r in (ragged(a, [2,3], [1,5]),pickle.loads(pickle.dumps(ragged(a, [2,3], [1,5])))):
        assert [o.tolist() for o in r[[0,1]]]==[[1,2],[5,6,7]]
    assert pickle.loads(pickle.dumps(ragged(a, [2,3], [0,2])))[1].tolist()==[2,3,4] # the rest belongs to none

def test_lengths_of_all_kinds(tmp_path):
    import pandas as pd, torch
    np.save(tmp_path/'n.npy', np.array([3,7], 'u1'))
    for lengths in ([3,7], (3,7), np.array([3,7], 'u2'), torch.tensor([3,7]), pd.Series([3,7], index=[5,1]), tmp_path/'n.npy'):
        r = ragged(values, lengths)
        assert r.lengths.tolist()==[3,7] and r.lengths.dtype=='i8' and r.begins.tolist()==[0,3]

def test_lengths_that_change(tmp_path):
    "A file of them is read when it is opened, and checked again in another process"
    np.save(tmp_path/'n.npy', np.array([3,7])); np.save(tmp_path/'v.npy', values)
    r = ragged(tmp_path/'v.npy', tmp_path/'n.npy')
    text = pickle.dumps(r)
    np.save(tmp_path/'n.npy', np.array([4,7]))
    assert r.lengths.tolist()==[3,7] and r[1].shape==(2,7)
    with pytest.raises(ValueError, match='add up to 11'): pickle.loads(text)

@pytest.mark.parametrize('kw,words', [(dict(side='left'), "side='left'"), (dict(keep='middle'), "keep='middle'"), (dict(max_len=0), 'max_len=0'), (dict(max_len=2.5), 'max_len=2.5')], ids=str)
def test_bad_rules(kw, words):
    with pytest.raises(ValueError, match=words): PadRule(**kw)

def test_padding_that_does_not_fit():
    for value,dtype in ((np.nan,'i2'), (-1,'u1'), (.5,'i4'), (1e9,'f2')):
        with pytest.raises(ValueError, match="can't hold it"): Padded(ragged(np.zeros(3, dtype), [3]), PadRule(value=value))
    Padded(ragged(np.zeros(3, 'f2'), [3]), PadRule(value=np.nan))

def test_out_too_short():
    with pytest.raises(ValueError, match='up to 7 steps do not fit'): Padded(ragged(values, [3,7]), PadRule()).reader().read(np.array([0,1]), np.empty((2,2,6), 'f4'))

# batches

@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(n=st.integers(1,30), n_vars=st.integers(1,4), most=st.sampled_from([2,5,40,3000]), dtype=st.sampled_from(['f4','>i2','f8','u1']), side=st.sampled_from(['end','start']), keep=st.sampled_from(['end','start']),
       max_len=st.sampled_from([None,1,7]), turned=st.booleans(), extra=st.integers(0,3), seed=st.integers(0,9))
def test_equals_padding_by_hand(tmp_path_factory, n, n_vars, most, dtype, side, keep, max_len, turned, extra, seed):
    "Of a file that is not in memory, and then of one that is: any lengths, layouts, rules, and room that is longer"
    lengths,a = samples(n, n_vars, most, dtype, seed)
    fn = tmp_path_factory.mktemp('a')/'a.npy'
    np.save(fn, a.T.copy() if turned else a)
    system.evict(fn)
    mapped = open_memmap(fn)
    rule,rows = PadRule(side, 9, max_len, keep),rows_of(a, lengths)
    source = Padded(ragged(mapped.T if turned else mapped, lengths), rule)
    order = np.random.default_rng(seed).integers(0, n, 20)
    for _ in range(2):
        got,reads = read_epoch(source, order, 7)
        for i,x in zip(range(0, 20, 7), got): np.testing.assert_array_equal(x, padded([rows[k] for k in order[i:i+7]], rule))
        assert reads.n_bytes==sum(min(lengths[k], max_len or 3000) for k in order)*a[0].nbytes
    longest = int(source.lengths[order].max())+extra
    out = np.empty((20,n_vars,longest), dtype)
    np.testing.assert_array_equal(source.reader().read(order, out), padded([rows[k] for k in order], rule, longest))

def test_crops_at_random(tmp_path):
    "A function of key and row: the same for labels of each step, in any order, and other ones in the next epoch"
    lengths,_ = samples(300, most=60)
    a = np.arange(lengths.sum())
    np.save(tmp_path/'a.npy', a.astype('f4'))
    X,y = (Padded(ragged(v, lengths), PadRule(max_len=20), True) for v in (tmp_path/'a.npy', a))
    order = rng.permutation(300)
    one,two = (np.concatenate([o[:,0] for o in read_epoch(s, order, 50, 7)[0]]) for s in (X,y))
    assert (one==two).all()
    again = read_epoch(X, order[::-1], 30, 7)[0]
    assert (np.concatenate([o[:,0] for o in again])[::-1]==one).all()
    first = one-ragged(a, lengths).begins[order]
    assert (first>=0).all() and (first+20<=np.maximum(lengths[order], 20)).all() and (first[lengths[order]<=20]==0).all()
    other = read_epoch(X, order, 50, 8)[0]
    assert (np.concatenate([o[:,0] for o in other])!=one)[lengths[order]>40].mean()>.8

def test_every_place_is_drawn_as_often():
    n = 60_000
    for rows,key in ((np.arange(n),0), (np.full(n, 5),None), (np.arange(n)*64,2**70+1)):
        got = drawn(key, rows, np.full(n, 6)) if key is not None else np.concatenate([drawn(k, rows[:1], np.array([6])) for k in range(6000)]*10)
        counts = np.bincount(got, minlength=6)
        assert len(counts)==6 and abs(counts/n-1/6).max()<.02, counts

# what is read

def device_bytes():
    "Bytes that this process had read from the disk"
    with open('/proc/self/io') as f: return int(next(l for l in f if l.startswith('read_bytes')).split()[1])

@linux
@pytest.mark.parametrize('direct', [False,True], ids=['cached','direct'])
def test_only_what_is_wanted(tmp_path, direct, monkeypatch):
    "Of a sample of 20 million steps, the crop; of others, their pages"
    lengths = np.array([300,20_000_000,500,400])
    create_memmap(tmp_path/'a.npy', lengths.sum(), 'f4', allocate=True)[:] = 1
    system.evict(tmp_path/'a.npy')
    if direct: monkeypatch.setattr(system, 'free_memory', lambda: 1)
    X = Padded(ragged(tmp_path/'a.npy', lengths), PadRule(max_len=1000), True)
    before = device_bytes()
    got,reads = read_epoch(X, np.arange(4), 4, 3)
    assert reads.way==('direct' if direct else 'mapped') and got[0].shape==(4,1000) and (got[0].sum(1)==[300,1000,500,400]).all()
    if before: assert device_bytes()-before<2**20, device_bytes()-before
    assert reads.n_bytes==4*2200

@linux
def test_direct_reads(tmp_path, monkeypatch):
    "Where there is little memory: all samples come so, of one piece each; a failed one comes through the page cache"
    lengths,a = samples(200, 3, 3000)
    np.save(tmp_path/'a.npy', a); np.save(tmp_path/'aT.npy', a.T.copy())
    monkeypatch.setattr(system, 'free_memory', lambda: 1)
    system.evict(tmp_path/'a.npy')
    system.evict(tmp_path/'aT.npy')
    rows,order = rows_of(a, lengths),rng.permutation(200)
    X = Padded(ragged(tmp_path/'a.npy', lengths), PadRule())
    got,reads = read_epoch(X, order, 32)
    assert isinstance(reads, DirectRunReads)
    for i,x in zip(range(0, 200, 32), got): np.testing.assert_array_equal(x, padded([rows[k] for k in order[i:i+32]], X.rule))
    turned = Padded(ragged(open_memmap(tmp_path/'aT.npy').T, lengths), PadRule()).reader().epoch()
    assert type(turned) is RunReads
    reads = X.reader().epoch()
    ticket = reads.announce(order[:50])
    reads.block = 1 # reads that are not aligned fail
    for t in (ticket,reads.announce(order[:50]),None):
        np.testing.assert_array_equal(reads.read(order[:50], None, t), padded([rows[k] for k in order[:50]], X.rule))
    assert not reads.works
    reads.close()

@pytest.mark.parametrize('platform', [Portable()])
def test_where_nothing_helps(tmp_path, platform):
    from memmap_ts.data.series import Series
    lengths,a = samples(50)
    np.save(tmp_path/'a.npy', a)
    r = ragged(tmp_path/'a.npy', lengths)
    r.series_of_all = Series(r.series_of_all.a, platform)
    got,reads = read_epoch(r, np.arange(50), 10)
    for x,want in zip((o for b in got for o in b), rows_of(a, lengths)): np.testing.assert_array_equal(x, want)

# what happens to files meanwhile

def written(fn):
    np.save(fn, np.load(fn)+1)
    os.utime(fn, ns=(0,os.stat(fn).st_mtime_ns+10**9))
def truncated(fn): os.truncate(fn, 5000)

@pytest.mark.parametrize('many', [False,True], ids=['one','many'])
@pytest.mark.parametrize('what,words', [(written,'was written to'), (truncated,'was truncated')], ids=['written','truncated'])
def test_changes(tmp_path, many, what, words):
    lengths,a = samples(300, 3, 90)
    fns = [tmp_path/f'a{k}.npy' for k in range(2)] if many else [tmp_path/'a.npy']
    for fn,part in zip(fns, np.array_split(a, len(fns))): np.save(fn, part)
    X = Padded(ragged(open_memmaps(fns) if many else fns[0], lengths), PadRule())
    order = rng.permutation(300)
    _,reads = read_epoch(X, order, 50)
    text = pickle.dumps(X)
    what(fns[-1])
    with pytest.raises(OSError, match=f'{fns[-1].name} {words}'): reads.check_unchanged()
    if what is truncated:
        with pytest.raises(OSError, match=words): read_epoch(X, order, 50)
        with pytest.raises((OSError,ValueError), match='has changed|truncated'): pickle.loads(text)[[299]]

# windows

def test_windows(tmp_path):
    "Each sample is a group of its own, also of a part of them, of samples with steps between, and in files"
    lengths,a = samples(40, 2, 30)
    for k,part in enumerate(np.split(a, [100,101,400])): np.save(tmp_path/f'{k}.npy', part)
    np.save(tmp_path/'a.npy', a)
    want = windows(a, 5, horizon=2, groups=lengths)
    for v in (tmp_path/'a.npy', open_memmaps(tmp_path/'[0-9].npy')):
        got = windows(ragged(v, lengths), 5, horizon=2)
        for g,w in zip(got, want): np.testing.assert_array_equal(g[np.arange(len(g))], w[np.arange(len(w))])
        some = windows(ragged(v, lengths)[3:30:4], 5)[0]
        rows = rows_of(a, lengths)[3:30:4]
        np.testing.assert_array_equal(some[np.arange(len(some))], [o[:,i:i+5] for o in rows for i in range(o.shape[1]-4)])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(some))[[0,3]], some[[0,3]])
        train,valid = got[0].split_by_group([9,12])
        assert len(valid)==sum(lengths[[9,12]]-6)
    r = ragged(a, lengths)
    for bad,words in ((r[::-1],'reverse order'), (r.select(slice(1), slice(None))[0],'get_x')):
        with pytest.raises(ValueError, match=words): windows(bad, 5)
    with pytest.raises(ValueError, match='steps first'): windows(r, 5, seq_first=False)

# many

@pytest.mark.alone
def test_ten_million(tmp_path):
    "Set-up takes no Python for each sample, and a batch as long as one of few"
    n = long_or(10**6, 10**7)
    np.save(tmp_path/'a.npy', np.zeros(3*n, 'f4'))
    before,start = system.anonymous_memory(),time.perf_counter()
    X = Padded(ragged(tmp_path/'a.npy', np.full(n, 3)), PadRule())
    reads = X.reader().epoch()
    took,after = time.perf_counter()-start,system.anonymous_memory()
    assert took<2*n/10**6, took # 0.05 s for a million where nobody else works
    if before: assert after-before<20*n+2**24, (after-before)/n
    small = Padded(ragged(np.zeros(3000, 'f4'), np.full(1000, 3)), PadRule()).reader().epoch()
    def seconds(reads, n):
        rows = np.random.default_rng(0).integers(0, n, (200,64))
        times = []
        for r in rows:
            start = time.perf_counter()
            reads.read(r, None, reads.announce(r))
            times.append(time.perf_counter()-start)
        return np.median(times)
    ratio = seconds(reads, n)/seconds(small, 1000)
    assert ratio<20, ratio
    assert len(pickle.dumps(X))<10**6 # lengths that are alike take little room
    reads.close()

def test_memory(tmp_path):
    "Of an epoch, whatever the file holds: a few batches"
    if system.anonymous_memory() is None: pytest.skip('this system does not tell')
    lengths = rng.integers(1000, 3000, 20_000)
    create_memmap(tmp_path/'a.npy', lengths.sum(), 'f4')
    X = Padded(ragged(tmp_path/'a.npy', lengths), PadRule())
    before = system.anonymous_memory()
    reads = X.reader().epoch()
    for i in range(0, 6400, 64):
        rows = np.arange(i, i+64)*3%20_000
        reads.read(rows, None, reads.announce(rows))
    assert system.anonymous_memory()-before<2**24
    reads.close()

# how fast

def bucketed(lengths, bs=64):
    "A random order of batches of samples of like length"
    order = rng.permutation(len(lengths))
    batches = []
    for pool in np.split(order, range(100*bs, len(order), 100*bs)):
        pool = pool[np.argsort(lengths[pool], kind='stable')]
        batches += np.split(pool, range(bs, len(pool), bs))
    return [batches[i] for i in rng.permutation(len(batches))]

def with_engine(X, batches):
    "As a loader does it: room that is used again, a thread that reads in order beside if that is quicker"
    reads = X.reader().epoch(len(X), rng.integers(0, len(X), 256), batches[0])
    sweep = Sweep([reads.sweep_part]) if reads.sweep_part else None
    if sweep: sweep.start()
    room = np.empty(64*X.shape[1]*X.shape[2], 'f4')
    def read(announced):
        rows,ticket = announced
        shape = len(rows),X.shape[1],int(X.lengths[rows].max())
        return reads.read(rows, room[:np.prod(shape)].reshape(shape), ticket)
    for _ in announced_ahead(iter(batches), lambda b: (b,reads.announce(b)), read, max(2, min(2**25//(64*reads.row_bytes), 32))): pass
    if sweep: sweep.stop()
    reads.close()

def in_a_loop(samples, batches):
    "As people do it: a slice for each sample, copied, padded"
    for b in batches:
        rows = [np.array(o) for o in samples(b)]
        out = np.zeros((len(rows),rows[0].shape[1],max(map(len, rows))), 'f4')
        for x,o in zip(out, rows): x[:,:len(o)] = o.T

def direct_reads(fn, offset, X, batches):
    "The same bytes past the page cache, 16 reads in flight, nothing made of them"
    rows,step = np.concatenate(batches),4*X.shape[1]
    first = (offset+X.ragged.begins[rows]*step)//4096*4096
    sizes = -(-(offset+(X.ragged.begins+X.lengths)[rows]*step)//4096)*4096-first
    memory = system.direct_memory(16*(int(sizes.max())+4096))
    with open(fn, 'rb') as f: fd = system.open_direct(f.fileno())
    def one(k):
        own = memory[k*(len(memory)//16//4096*4096):]
        for o,n in zip(first[k::16].tolist(), sizes[k::16].tolist()): system.read_at(fd, own[:n], o)
    with ThreadPoolExecutor(16) as pool: list(pool.map(one, range(16)))
    os.close(fd)

@pytest.mark.alone
@pytest.mark.skipif(not long_or(0, 1), reason='MEMMAP_TS_LONG=1 pytest -s -k test_speed_of_samples prints how long epochs take')
@pytest.mark.parametrize('n_vars,median,n', [(1,200,100_000), (4,200,100_000), (8,1000,20_000), (2,30,200_000)])
def test_speed_of_samples(tmp_path, n_vars, median, n):
    "Shuffled epochs of log-normal lengths, buckets of 64: medians of three, in turns; ratios to the engine"
    lengths = np.maximum(rng.lognormal(np.log(median), 1, n), 1).astype('i8')
    a = create_memmap(tmp_path/'a.npy', (lengths.sum(),n_vars))
    for i in range(0, len(a), 10**6): a[i:i+10**6] = rng.normal(size=a[i:i+10**6].shape)
    a.flush()
    X,files = Padded(ragged(tmp_path/'a.npy', lengths), PadRule()),[tmp_path/'a.npy']
    begins,a = X.ragged.begins,np.load(tmp_path/'a.npy', mmap_mode='r')
    def slices(b): return [a[begins[k]:begins[k]+lengths[k]] for k in b]
    runs = dict(engine=lambda o: with_engine(X, o), loop=lambda o: in_a_loop(slices, o), direct=lambda o: direct_reads(tmp_path/'a.npy', a.offset, X, o))
    try: from mmap_ninja.ragged import RaggedMmap
    except ImportError: print('\nmmap_ninja is not installed, and is left out')
    else:
        ninja = RaggedMmap.from_generator(tmp_path/'ninja', (a[i:i+k] for i,k in zip(begins, lengths)), 10_000)
        files += [o for o in (tmp_path/'ninja').rglob('*') if o.is_file() and o.stat().st_size>10**6]
        runs['mmap_ninja'] = lambda o: in_a_loop(lambda b: ninja[b], o)
    took = {}
    for cold in (False,True):
        for _ in range(3):
            for name,run in runs.items():
                if name=='direct' and not cold: continue
                for fn in files if cold else (): system.evict(fn)
                batches = bucketed(lengths)
                start = time.perf_counter()
                run(batches)
                took.setdefault((cold,name), []).append(time.perf_counter()-start)
    times = {k: np.median(v) for k,v in took.items()}
    said = [f'{name} {t/times[cold,"engine"]:.2f}' for (cold,name),t in times.items() if name!='engine']
    print(f'\n{n:,} samples of {n_vars} vars, median {median} steps, {os.path.getsize(tmp_path/"a.npy")/1e6:.0f} MB: '
          f'warm {times[False,"engine"]:.2f} s, cold {times[True,"engine"]:.2f} s; warm, then cold: {", ".join(said)}')
    assert times[False,'engine']<1.5*times[False,'loop'] and times[True,'engine']<5*times[True,'direct']
