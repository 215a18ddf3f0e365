"Many files as one array: what goes together, where rows are, splits, windows, and what happens to files meanwhile"
import os, pickle, subprocess, sys, textwrap, time, numpy as np, pytest, torch
from pathlib import Path
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter
from fastai.learner import load_learner
from tsai.data.preprocessing import TSStandardize
from tsai.inference import * # learn.get_X_preds
from tsai.learner import ts_learner
from memmap_ts.all import *
from memmap_ts.io import identity
from memmap_ts.io.system import system
from harness import long_or
from training import fit

rng = np.random.default_rng(0)
X = rng.normal(size=(120,2,12)).astype('f4')
y = np.array(['down','flat','up'])[np.arange(120)%3]
X[np.arange(120),0] += (np.arange(120)%3-1)[:,None]
splits = range(90),range(90,120)

@pytest.fixture
def files(tmp_path):
    "X and y in five files each"
    for k,(a,b) in enumerate(zip(np.split(X, [10,11,60,80]), np.split(y, [10,11,60,80]))):
        np.save(tmp_path/f'X{k}.npy', a); np.save(tmp_path/f'y{k}.npy', b)
    return [tmp_path/f'X{k}.npy' for k in range(5)],[tmp_path/f'y{k}.npy' for k in range(5)]

def touch(fn):
    "Another time: the clock of a file system may be too slow for a test"
    os.utime(fn, ns=(0,os.stat(fn).st_mtime_ns+10**9))

# what goes together

def test_order_of_files(tmp_path, monkeypatch):
    "A pattern counts as people do, a list keeps its order"
    for k in (10,9,1): np.save(tmp_path/f'part{k}.npy', np.full((2,3), k))
    monkeypatch.chdir(tmp_path)
    assert open_memmaps('part*.npy')[[0,2,4]][:,0].tolist()==[1,9,10]
    Z = open_memmaps(Path('part*.npy'))
    assert [os.path.basename(o) for o in Z.files]==['part1.npy','part9.npy','part10.npy'] and all(map(os.path.isabs, Z.files))
    assert open_memmaps(['part10.npy','part1.npy'])[[0,2]][:,0].tolist()==[10,1]
    assert open_memmaps(o for o in ['part9.npy']).shape==(2,3)
    assert open_memmaps('part9.npy').shape==(2,3)

@pytest.mark.parametrize('second,kw,err,words', [
    (np.zeros((2,2,13), 'f4'), {}, ValueError, r'b.npy has rows of shape \(2, 13\).*a.npy have \(2, 12\)'),
    (np.zeros((2,2,12), 'f8'), {}, TypeError, r"a.npy is of dtype float32, and .*b.npy of float64.*dtype='float64'"),
    (np.zeros((2,2,12), 'f8'), dict(dtype='i4'), TypeError, "a.npy is of dtype float32, which can't become int32"),
    (np.float32(3), {}, ValueError, 'b.npy holds a single value'),
    (np.array([[None]]), {}, ValueError, 'b.npy holds Python objects')], ids=range(5))
def test_what_does_not_go_together(tmp_path, second, kw, err, words):
    np.save(tmp_path/'a.npy', X[:3]); np.save(tmp_path/'b.npy', second)
    with pytest.raises(err, match=words): open_memmaps([tmp_path/'a.npy',tmp_path/'b.npy'], **kw)

@pytest.mark.parametrize('a,b,dtype', [
    (['sit','sit_down'], ['stand'], 'U5'), ([1,300], np.uint8([4]), 'i1'), ([2**40], [1], 'i4'), ([-1], [1], 'u8'), ([123456,7], [1], 'U2')], ids=str)
def test_nothing_is_cut_or_wraps_around(a, b, dtype, tmp_path):
    "A dtype that has no room for all values there may be is an error"
    for name,o in (('a',a),('b',b)): np.save(tmp_path/f'{name}.npy', o)
    with pytest.raises(TypeError, match=f"can't become {np.dtype(dtype)}: choose a dtype that holds all"): open_memmaps(tmp_path/'?.npy', dtype=dtype)

def test_text_of_any_length(tmp_path):
    for name,o in (('a',['sit','sit_down']),('b',['stand'])): np.save(tmp_path/f'{name}.npy', o)
    y = open_memmaps(tmp_path/'?.npy', dtype=str)
    assert y.dtype=='U8' and y[[0,1,2]].tolist()==['sit','sit_down','stand']
    np.save(tmp_path/'c.npy', [7])
    assert open_memmaps(tmp_path/'?.npy', dtype=str)[[1,3]].tolist()==['sit_down','7']

@pytest.mark.parametrize('other', [X[:6].transpose(0,2,1).copy(), X[:6].view('i4')], ids=['shape','dtype'])
def test_a_stored_pickle_of_a_file_with_another_header(other, tmp_path):
    "The same number of bytes, which mean something else"
    for name in ('a','b'): np.save(tmp_path/f'{name}.npy', X[:6])
    many,one,rows = open_memmaps(tmp_path/'?.npy'),itemify(tmp_path/'b.npy'),open_memmaps([open_memmap(tmp_path/'b.npy')[2]])
    stored = [pickle.dumps(o) for o in (many, one, rows)]
    np.save(tmp_path/'b.npy', X[6:12]) # other values, which nobody can tell of
    for o in stored: pickle.loads(o)
    np.save(tmp_path/'b.npy', other)
    for o in stored:
        with pytest.raises(ValueError, match=r'b\.npy has changed: its header says another shape or dtype'): pickle.loads(o)

def test_what_is_no_file(tmp_path, files):
    fns,_ = files
    os.link(fns[0], tmp_path/'twin.npy')
    (tmp_path/'cut.npy').write_bytes(fns[2].read_bytes()[:-1])
    for bad,err,words in (([], ValueError, 'no files'), (tmp_path/'*.nix', FileNotFoundError, 'No file fits'), (tmp_path, IsADirectoryError, r'\*\.npy'),
                          ([*fns,tmp_path/'no.npy'], FileNotFoundError, 'no.npy'), ([*fns,fns[1]], ValueError, 'X1.npy and .*X1.npy are the same file'),
                          ([*fns,tmp_path/'twin.npy'], ValueError, 'twin.npy and .*X0.npy are the same'), ([fns[0],tmp_path/'cut.npy'], ValueError, 'cut.npy is truncated'),
                          (X, TypeError, 'one array'), ([fns[0],['a']], TypeError, 'number 1 of the files'), ([fns[0],3], TypeError, 'rows from int')):
        with pytest.raises(err, match=words): open_memmaps(bad)
    with pytest.raises(ValueError, match="only read.*open_memmap"): open_memmaps(fns, 'r+')
    with pytest.raises(ValueError, match='its rows have no values'): open_memmaps([np.zeros((3,0), 'f4')])
    with pytest.raises(TypeError, match=r'open_memmaps\(paths\)'): itemify(fns)
    (tmp_path/'tables'/'day').mkdir(parents=True)
    (tmp_path/'tables'/'day'/'0.csv').write_text('x')
    with pytest.raises(IsADirectoryError, match=r'\*\*/\*\.csv'): open_memmaps(tmp_path/'tables')

@pytest.mark.parametrize('i,words', [((slice(None),1), 'keeps the axis'), ((slice(None),[2]), 'out of range'), ((slice(None),[]), 'leaves nothing'),
                                     ((slice(None),)*4, 'too many'), ((slice(None),Ellipsis), 'keeps the axis')], ids=range(5))
def test_columns_that_are_not_there(files, i, words):
    with pytest.raises(IndexError, match=words): open_memmaps(files[0])[i]

# where rows are

def test_locate_and_write(files):
    "The way to change a row"
    Z = open_memmaps(files[0])
    path,row = Z.locate(59)
    assert (path,row)==(str(files[0][2]),48)
    open_memmap(path, 'r+')[row] = 7
    assert (open_memmaps(files[0])[59]==7).all()
    assert Z.locate(-1)==(str(files[0][4]),39) and Z[50:][::2].locate(5)==(str(files[0][3]),0)
    numbers,rows = Z.locate([0,10,11])
    assert numbers.tolist()==[0,1,2] and rows.tolist()==[0,0,0]
    with pytest.raises(IndexError): Z.locate(120)

def test_lazy(files):
    "Masks in `itemify`, slices and columns hold no rows"
    Z = open_memmaps(files[0])
    some = itemify(Z)[np.arange(120)%2==1]
    np.testing.assert_array_equal(some.batch([0,1])[0], X[[1,3]])
    part = Z[20:,[1],::3]
    assert on_disk(Z) and on_disk(part) and part.shape==(100,1,4) and part.files==Z.files
    np.testing.assert_array_equal(part[[0,99]], X[20:,[1],::3][[0,99]])

# splits

@pytest.mark.parametrize('valid,want', [('X1.npy',[1]), (['X0.npy',3],[0,3]), ('*[24].npy',[2,4]), (['*/X3.npy'],[3])], ids=str)
def test_split_by_name(files, valid, want):
    Z = open_memmaps(files[0])
    train,val = Z.split_by_file(valid)
    assert set(Z.locate(val)[0])==set(want) and not set(Z.locate(train)[0])&set(want) and len(train)+len(val)==120
    assert sorted([*train,*val])==list(range(120))

def test_split_at_random(files):
    Z = open_memmaps(files[0])
    one,two = Z.split_by_file(.4, seed=1),Z.split_by_file(.4, seed=1)
    assert all(np.array_equal(a, b) for a,b in zip(one, two)) and len(set(Z.locate(one[1])[0]))==2
    from fastai.torch_core import set_seed
    def drawn():
        set_seed(3)
        return list(Z.split_by_file()[1])
    assert drawn()==drawn() and len({tuple(Z.split_by_file(seed=s)[1]) for s in range(30)})==5
    part = Z[5:100:2]
    train,val = part.split_by_file([2])
    assert set(part.locate(val)[0])=={2} and sorted([*train,*val])==list(range(len(part)))

def test_bad_splits(files):
    Z = open_memmaps(files[0])
    for valid,words in (('Y.npy','no file is called'), ([9],'no file is called 9'), ('*','has all of the rows'), (1.5,'between 0 and 1')):
        with pytest.raises(ValueError, match=words): Z.split_by_file(valid)
    with pytest.raises(ValueError, match='single file'): Z[:10].split_by_file()
    with pytest.raises(ValueError, match='backwards'): Z[::-1].split_by_file()
    with pytest.raises(ValueError, match='none of the rows'): Z[:20].split_by_file([4])

def test_slices_of_one_file_stay_together(tmp_path):
    "Else a model would be validated on the file that it has seen"
    np.save(tmp_path/'a.npy', X[:20]); np.save(tmp_path/'b.npy', X[20:40])
    a = open_memmap(tmp_path/'a.npy')
    Z = open_memmaps([a[:5],tmp_path/'b.npy',a[12:]])
    np.testing.assert_array_equal(Z[[0,5,25]], X[[0,20,12]])
    assert {tuple(Z.split_by_file(.5, seed=s)[0]) for s in range(9)}=={tuple(range(5,25)),(*range(5),*range(25,33))}

# the same as one file

def test_training(files, tmp_path):
    "Losses, statistics, predictions, an exported learner: those of the array in RAM"
    Z,Y = (open_memmaps(o) for o in files)
    losses,preds = [],[]
    for A,t in ((X,y),(Z,Y),(Z,y)):
        dls = TSDataLoaders.from_memmap(A, t, splits=splits, bs=16, seed=1, batch_tfms=TSStandardize(by_var=True))
        learn = ts_learner(dls, 'FCN', seed=0)
        losses.append(fit(learn, 2))
        preds.append(learn.get_X_preds(A)[0].numpy())
    assert losses[0]==losses[1]==losses[2] and learn.dls.train.last_epoch.arrays[0].name=='5 files'
    np.testing.assert_allclose(preds[1], preds[0], rtol=1e-5)
    np.testing.assert_allclose(preds_to_memmap(learn, Z, tmp_path/'p.npy', progress=False), preds[0], rtol=1e-4, atol=1e-6)
    learn.export(tmp_path/'learn.pkl')
    np.testing.assert_allclose(load_learner(tmp_path/'learn.pkl').get_X_preds(Z[:7])[0], preds[0][:7], rtol=1e-5)

@pytest.mark.parametrize('kw', [dict(num_workers=1), dict(sel_vars=[1], sel_steps=slice(2,9)), dict(shuffle=False), dict(item_tfms=lambda o: o+1 if o.ndim==2 else o), dict(cache='device')], ids=lambda o: '-'.join(o))
def test_batches(files, kw):
    Z = open_memmaps(files[0])
    got = [[b[0] for b in TSDataLoaders.from_memmap(A, y, splits=splits, bs=16, seed=1, **kw).train] for A in (X,Z)]
    assert len(got[0])==len(got[1])>4 and all(torch.equal(a, b) for a,b in zip(*got))

def test_datablock(files):
    block = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=lambda o: splits)
    got = [[b for b in block.dataloaders((A,y), bs=16, seed=1).train] for A in (X,open_memmaps(files[0]))]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a,b in zip(*got))

def test_samples_of_one_variable(files, tmp_path):
    "(samples, steps), for training and for new samples"
    for k,a in enumerate(np.split(X[:,0], [50])): np.save(tmp_path/f'flat{k}.npy', a)
    Z = open_memmaps(tmp_path/'flat*.npy')
    dls = TSDataLoaders.from_memmap(Z, y, splits=splits, bs=30, shuffle=False)
    assert torch.equal(torch.cat([b[0] for b in dls.train]), torch.from_numpy(X[:90,:1])) and dls.vars==1
    assert torch.equal(torch.cat([b[0] for b in dls.test_dl(Z)]), torch.from_numpy(X[:,:1]))

def test_numbers_to_predict(files, tmp_path):
    "Targets in files, floats: read if they are small"
    t = X[:,:,0].copy()
    for k,a in enumerate(np.split(t, [50])): np.save(tmp_path/f't{k}.npy', a)
    T = open_memmaps(tmp_path/'t*.npy')
    dls = TSDataLoaders.from_memmap(open_memmaps(files[0]), T, splits=splits, bs=30, shuffle=False)
    np.testing.assert_array_equal(torch.cat([b[1] for b in dls.train]).numpy(), t[:90])
    one = TSDataLoaders.from_memmap(X, t, splits=splits, bs=30)
    assert (dls.c,dls.d)==(one.c,one.d)

@pytest.mark.parametrize('by', ['var','all',('var','step'),'sample'])
def test_statistics(files, by):
    for idxs in (None,range(5,90),[7,100,3]):
        got,want = memmap_stats(open_memmaps(files[0]), idxs, by),memmap_stats(X, idxs, by)
        for k in ('count','nans','mean','std','min','max'): np.testing.assert_allclose(getattr(got, k), getattr(want, k), rtol=1e-12, err_msg=k)

def test_copy_and_describe(files, tmp_path):
    Z = open_memmaps(files[0])
    np.testing.assert_array_equal(to_memmap(Z, tmp_path/'one.npy', progress=False, chunk_rows=7), X)
    said = repr(describe(Z, y))
    assert '5, from' in said and 'X4.npy' in said and '120 × 2 × 12' in said

# windows

def test_windows(tmp_path):
    "Each file a series: windows, statistics, losses are those of one file with groups"
    a,lengths = rng.normal(size=(200,3)).astype('f4'),[80,5,115]
    for k,part in enumerate(np.split(a, [80,85])): np.save(tmp_path/f's{k}.npy', part)
    Z = open_memmaps(tmp_path/'s*.npy')
    for kw in (dict(horizon=3), dict(horizon=[1,4], get_y=[0], get_x=[2,0], stride=3), dict(horizon=2, groups=[120,80]), dict(horizon=1, groups=[200])):
        many,one = windows(Z, 12, **kw),windows(a, 12, **{'groups':lengths, **kw})
        for A,B in zip(many, one):
            assert A.shape==B.shape
            np.testing.assert_array_equal(A[np.arange(len(A))], B[np.arange(len(B))])
            for by in ('var',('var','step'),'sample')[:2+(A.ndim>1)]:
                got,want = memmap_stats(A, None, by),memmap_stats(B, None, by)
                np.testing.assert_allclose(got.mean, want.mean, rtol=1e-9); np.testing.assert_allclose(got.std, want.std, rtol=1e-9)
        part = many[0][3:30:2]
        np.testing.assert_array_equal(part[[0,4]], one[0][3:30:2][[0,4]])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(part))[[0,4]], part[[0,4]])
    W,t = windows(Z, 12, horizon=1)
    train,valid = W.split_by_group(['s2.npy'])
    assert len(train)==80-12 and len(valid)==115-12
    got = [[*TSDataLoaders.from_memmap(*w, splits=(train,valid), bs=16, seed=1).train] for w in ((W,t),windows(a, 12, horizon=1, groups=lengths))]
    assert len(got[0])==4 and all(torch.equal(p, q) for b,c in zip(*got) for p,q in zip(b, c))
    np.save(tmp_path/'v0.npy', a[:80,0]); np.save(tmp_path/'v1.npy', a[80:,0])
    np.testing.assert_array_equal(windows(open_memmaps(tmp_path/'v*.npy')[5:], 12)[0][[0,-1]], np.stack([a[5:17,:1].T,a[-12:,:1].T]))
    with pytest.raises(ValueError, match=r'rows of shape \(2, 12\)'): windows(open_memmaps([X]), 3)
    with pytest.raises(ValueError, match='steps first'): windows(Z, 3, seq_first=False)
    with pytest.raises(ValueError, match='fits into any of 3 groups, the longest of 115'): windows(Z, 200)
    with pytest.raises(ValueError, match='all steps'): windows(Z[::2], 3)

# what happens to files meanwhile

def gone(fn): os.remove(fn)
def written(fn):
    np.save(fn, np.load(fn)+1)
    touch(fn)
def replaced(fn):
    np.save(fn.with_name('new.npy'), np.load(fn)+1)
    os.replace(fn.with_name('new.npy'), fn)
def truncated(fn): os.truncate(fn, 500)
def cut_in_a_page(fn): os.truncate(fn, os.path.getsize(fn)-8)

@pytest.mark.parametrize('what,words', [(gone,'is not any more'), (written,'was written to'), (replaced,'was replaced'), (truncated,'was truncated'), (cut_in_a_page,'was truncated')], ids=lambda o: getattr(o, '__name__', ''))
def test_changes(files, what, words):
    "Between epochs, in one, before the first row, in a pickle: never other rows without a word, never the end of the process"
    fns,_ = files
    dls = TSDataLoaders.from_memmap(open_memmaps(fns), y, splits=splits, bs=16)
    for _ in dls.train: pass
    late,again = open_memmaps(fns),pickle.dumps(open_memmaps(fns))
    what(fns[2])
    with pytest.raises(OSError, match=f'X2.npy {words}'):
        for _ in dls.train: pass
    if what is not written:
        with pytest.raises(OSError, match=f'X2.npy {words}'): late[[0,30,119]]
        if what is not replaced:
            with pytest.raises((OSError,ValueError), match='X2.npy'): pickle.loads(again)
    with pytest.raises(OSError, match=f'X2.npy {words}'): memmap_stats(late)
    np.testing.assert_array_equal(late[[0,119]], X[[0,119]])

def test_in_an_epoch(files, monkeypatch):
    monkeypatch.setattr(identity.Watch, 'every_seconds', 0)
    fns,_ = files
    it = iter(TSDataLoaders.from_memmap(open_memmaps(fns), y, splits=splits, bs=10, prefetch=0).valid)
    next(it)
    written(fns[4])
    with pytest.raises(OSError, match='X4.npy was written to'): next(it)

def test_as_the_user_wishes(files):
    fns,_ = files
    dls = TSDataLoaders.from_memmap(open_memmaps(fns), y, splits=splits, bs=30, changing=True)
    written(fns[4])
    assert torch.equal(torch.cat([b[0] for b in dls.valid]), torch.from_numpy(X[90:]+1))

def test_no_header_is_read_again(files, monkeypatch):
    "A pickle has what headers say; spawned workers get it"
    text = pickle.dumps(open_memmaps(files[0]))
    monkeypatch.setattr('memmap_ts.data.found.file_header', None)
    monkeypatch.setattr('memmap_ts.store.file_header', None)
    np.testing.assert_array_equal(pickle.loads(text)[[3,70]], X[[3,70]])

# many

def test_few_open_files(tmp_path):
    "A thousand files where a process may have 256, and a quick look at ten times as many: by mappings, and by calls"
    (tmp_path/'run.py').write_text(textwrap.dedent('''
        import os, resource, sys, numpy as np
        resource.setrlimit(resource.RLIMIT_NOFILE, (256,256))
        from memmap_ts.collect import open_memmaps
        from memmap_ts.io.system import system
        for k in range(1000): np.save(f'{k}.npy', np.full((3,5), k, 'f4'))
        X = open_memmaps('*.npy')
        if sys.argv[1]=='few': X.parts.pool.mapped and setattr(X.parts.pool.mapped, 'most', 100)
        order = np.random.default_rng(0).permutation(3000)
        reads = X.reader().epoch(3000, order, order[:100])
        n_open = []
        for i in range(0, 3000, 100):
            rows = order[i:i+100]
            got = reads.read(rows, np.empty((100,5), 'f4'), reads.announce(rows))
            assert (got==(rows//3)[:,None]).all()
            if os.path.isdir('/proc/self/fd'): n_open.append(len(os.listdir('/proc/self/fd')))
        reads.close()
        mapped = X.parts.pool.mapped
        if sys.argv[1]=='few' and mapped: assert 0<mapped.n_mapped<=200, mapped.n_mapped
        print('fine', max(n_open, default=0))'''))
    for args,env in ((['all'],{}), (['few'],{}), (['all'],{'MEMMAP_TS_SYSTEM':'portable'})):
        if sys.platform=='win32': pytest.skip('no limits of that kind')
        r = subprocess.run([sys.executable, 'run.py', *args], cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=300)
        assert r.returncode==0 and r.stdout.startswith('fine') and int(r.stdout.split()[1])<100, (args, env, r.stdout+r.stderr)

@pytest.mark.alone
def test_opening_many(tmp_path):
    "Time and memory do not grow with what is in the files, and little with their number"
    n = long_or(2000, 10_000)
    a = np.zeros((2,3,4), 'f4')
    for k in range(n): np.save(tmp_path/f'{k}.npy', a)
    before,start = system.anonymous_memory(),time.perf_counter()
    Z = open_memmaps(tmp_path/'*.npy')
    took,after = time.perf_counter()-start,system.anonymous_memory()
    assert len(Z)==2*n and took<2*n/2000, took # a tenth of it, where nobody else works
    if before: assert after-before<50*2**20, (after-before)/2**20
    np.testing.assert_array_equal(Z[[0,2*n-1]], a[[0,1]])
    assert len(pickle.dumps(Z))<200*n

# raw files

@pytest.mark.parametrize('kw,want', [(dict(shape=(-1,3)),(4,3)), (dict(shape=12),(12,)), (dict(shape=(2,-1,2)),(2,3,2)), (dict(shape=(2,3)),(2,3)), (dict(shape=-1),(12,))], ids=str)
def test_open_raw(tmp_path, kw, want):
    (tmp_path/'a.dat').write_bytes(b'head'+np.arange(12, dtype='>i2').tobytes())
    a = open_raw(tmp_path/'a.dat', '>i2', offset=4, **kw)
    np.testing.assert_array_equal(a, np.arange(12)[:a.size].reshape(want))
    assert on_disk(a) and not a.flags.writeable
    np.testing.assert_array_equal(itemify(a).batch([0])[0], a[[0]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(itemify(a))).batch([0])[0], a[[0]])

@pytest.mark.parametrize('args,kw,err,words', [
    (('<i2',(-1,5)), {}, ValueError, '4 bytes are left over after 2 rows of 10 bytes'), (('<i2',(5,3)), {}, ValueError, 'has 24 bytes, .*needs 30'),
    (('<i2',(-1,-1)), {}, ValueError, 'one of them may be -1'), (('<i2',(-1,0)), {}, ValueError, 'no values'), (('<i2',3), dict(offset=30), ValueError, 'needs 30'),
    (('<i2',3), dict(offset=-1), ValueError, 'offset=-1'), (('O',3), {}, TypeError, 'number type'), (('<i2',(-2,)), {}, ValueError, 'at least 0')], ids=str)
def test_bad_raw(tmp_path, args, kw, err, words):
    (tmp_path/'a.dat').write_bytes(bytes(24))
    with pytest.raises(err, match=words): open_raw(tmp_path/'a.dat', *args, **kw)
    with pytest.raises(FileNotFoundError, match='no.dat'): open_raw(tmp_path/'no.dat', '<i2', 3)

def test_raw_among_many(tmp_path):
    for k in range(3): X[k*40:k*40+40].tofile(tmp_path/f'{k}.dat')
    Z = open_memmaps([open_raw(tmp_path/f'{k}.dat', 'f4', (-1,2,12)) for k in range(3)])
    rows = rng.permutation(120)
    np.testing.assert_array_equal(Z[rows], X[rows])
    assert Z.parts.others is None # read like any file

@pytest.mark.skipif(not long_or(0, 1), reason='MEMMAP_TS_LONG=1 pytest -s -k test_speed prints how long epochs take')
@pytest.mark.parametrize('row_bytes,bs', [(4096,64), (4096,512), (40_000,64), (40_000,512)])
@pytest.mark.parametrize('cold', [False,True], ids=['warm','cold'])
def test_speed(tmp_path, row_bytes, bs, cold):
    "A shuffled epoch over 1,000 files against one over the same bytes in one file: medians of five pairs, in turns"
    n,steps = 400_000_000//row_bytes//1000,row_bytes//16
    one = create_memmap(tmp_path/'one.npy', (1000*n,4,steps))
    for k in range(1000):
        one[k*n:k*n+n] = rng.integers(0, 99, (n,4,steps))
        np.save(tmp_path/f'part{k}.npy', one[k*n:k*n+n])
    one.flush()
    del one
    y,sources = np.zeros(1000*n, 'i8'),dict(one=open_memmap(tmp_path/'one.npy'), many=open_memmaps(tmp_path/'part*.npy'))
    dls = {k: TSDataLoaders.from_memmap(o, y, splits=(range(1000*n),), bs=bs, seed=1, device='cpu') for k,o in sources.items()}
    def seconds(name):
        for fn in tmp_path.glob('*.npy') if cold else (): system.evict(fn)
        start = time.perf_counter()
        for _ in dls[name].train: pass
        return time.perf_counter()-start
    for name in dls: seconds(name)
    pairs = [{name: seconds(name) for name in (list(dls) if i%2 else list(dls)[::-1])} for i in range(5)]
    one,many = (np.median([p[name] for p in pairs]) for name in dls)
    print(f'\n{row_bytes:,} bytes a row, bs {bs}, {"cold" if cold else "warm"}: one {one:.3f} s, many {many:.3f} s, ratio {many/one:.2f}')
    assert many<3*one

def test_large_targets(tmp_path, monkeypatch):
    "Numbers stay on disk; labels of each step would be taken for numbers"
    monkeypatch.setattr('memmap_ts.data.collected._most_bytes', 500)
    from memmap_ts.data.target import as_targets
    T = open_memmaps([X[:50,:,0],X[50:,:,0]])
    assert as_targets(T) is T
    with pytest.raises(ValueError, match=r"to_memmap\(y, 'y.npy'\)"): as_targets(open_memmaps([np.zeros((120,9), 'i4')]))
    assert as_targets(open_memmaps([y])).tolist()==y.tolist() # one for each sample, however many

# --- files in Fortran order, which are read one by one

@pytest.fixture
def fortran(tmp_path):
    "Twelve files of ten rows, more than are open at once"
    def _save(k, value, shape=(10,2,4), dtype='f4'): np.save(tmp_path/f'{k}.npy', np.full(shape, value, dtype, order='F'))
    for k in range(12): _save(k, k)
    return _save

def test_fortran_file_is_replaced(fortran, tmp_path):
    "Before it was looked into: an error, as of any other file"
    Z = open_memmaps(tmp_path/'*.npy')
    os.replace(tmp_path/'3.npy', tmp_path/'old'); fortran(3, 99)
    assert Z[25][0,0]==2
    with pytest.raises(OSError, match='3.npy was replaced by another file'): Z[35]

@pytest.mark.parametrize('shape,dtype', [((10,2,2),'f8'), ((10,4,2),'f4')])
def test_fortran_file_with_another_header(fortran, tmp_path, shape, dtype):
    Z = open_memmaps(tmp_path/'*.npy')
    stored = pickle.dumps(Z)
    fortran(3, 3, shape, dtype)
    for read in (lambda: Z[35], lambda: pickle.loads(stored)):
        with pytest.raises(ValueError, match='3.npy has changed: its header says another'): read()

def test_fortran_file_is_written_to(fortran, tmp_path):
    "Also if eight others were read since"
    dls = TSDataLoaders.from_memmap(open_memmaps(tmp_path/'*.npy'), np.arange(120)%2, splits=(range(120),), bs=10, shuffle=False)
    batches = iter(dls.train)
    next(batches)
    os.utime(tmp_path/'0.npy', (1,1))
    with pytest.raises(OSError, match='0.npy was written to since it was opened'): list(batches)

def test_fortran_file_comes_twice(fortran, tmp_path):
    with pytest.raises(ValueError, match='are the same file'): open_memmaps([tmp_path/'0.npy',tmp_path/'1.npy',tmp_path/'0.npy'])
