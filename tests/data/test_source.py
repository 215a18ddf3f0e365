"Whatever has rows keeps one contract: one suite, run over every kind of source"
import multiprocessing, os, pickle, subprocess, sys, textwrap, numpy as np, pytest, torch
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from fastcore.foundation import L
from memmap_ts.all import *
from memmap_ts.data.source import Source, as_array, as_source
from memmap_ts.collect import open_memmaps, ragged
from memmap_ts.data.padded import PadRule, Padded
from memmap_ts.windows import windows
import computed
from computed import Ramps

N = 60
rng = np.random.default_rng(0)

class SourceTests:
    """What every source has to do. A subclass says how it is made, and what rows it should have.

    `make(folder)` gives what a user would pass, `want` all rows: an array, or a list for what has no dtype.
    """
    ascending = False # only slices that run upwards?
    most_pickled = 1500 # bytes of what is on disk
    selections = [(slice(1,None),slice(0,6,2)), (slice(None),slice(2,3)), (np.array([1,0]),slice(1,4)), (slice(1),np.array([5,0])), (np.array([1]),np.array([2,2]))] # of 3 variables (or 2) and 8 steps
    def make(self, folder): raise NotImplementedError
    def want(self): raise NotImplementedError

    @pytest.fixture
    def src(self, tmp_path): return as_source(self.make(tmp_path))

    @pytest.fixture
    def rows(self): return self.want()

    def same(self, got, want):
        if isinstance(want, list): assert got==want
        else:
            assert got.dtype==want.dtype
            np.testing.assert_array_equal(got, want)

    def at(self, rows, idxs): return [rows[i] for i in idxs] if isinstance(rows, list) else rows[np.asarray(idxs, int)]

    def out(self, src, n): return None if src.dtype is None else np.empty((n,*src.shape[1:]), src.dtype)
    def n_bytes(self, reads, rows, numbers): return len(numbers)*reads.row_bytes
    def selected(self, rows, numbers, vars, steps): return self.at(rows, numbers)[:,vars][:,:,steps]

    def test_length_shape_dtype(self, src, rows):
        assert len(src)==len(rows)==N and src.ndim==len(src.shape) and repr(src)
        if src.dtype is None: assert src.shape==(N,)
        else: assert (src.shape,src.dtype)==(rows.shape,rows.dtype)
        assert as_source(src) is src

    def test_row(self, src, rows):
        for i in (0,7,N-1,-1,-N,np.int64(3),np.uint8(5)):
            want = rows[int(i)]
            if isinstance(want, np.ndarray): np.testing.assert_array_equal(src[i], want)
            else: assert src[i]==want
        assert np.array_equal(src.row(7), rows[7])

    def test_a_row_is_not_to_be_written(self, src, tmp_path):
        "At least where it is on disk"
        row = src[3]
        if on_disk(row):
            with pytest.raises(ValueError): row[...] = 0

    @pytest.mark.parametrize('i', [slice(None), slice(10,20), slice(3,50,7), slice(-5,None), slice(5,5), slice(20,10), range(4,40,3), slice(None,None,-1), slice(30,10,-4)], ids=str)
    def test_slice(self, src, rows, i):
        numbers = list(i) if isinstance(i, range) else list(range(N))[i]
        if self.ascending and (i.step or 1)<0:
            with pytest.raises(IndexError, match='ascending'): src[i]
            return
        part = src[i]
        assert isinstance(part, Source) and len(part)==len(numbers)
        for k,n in enumerate(numbers): assert np.array_equal(part[k], rows[n])
        self.same(part.reader().read(np.arange(len(part))), self.at(rows, numbers))
        if len(part)>3: assert np.array_equal(part[1:3][1], rows[numbers[2]])

    @pytest.mark.parametrize('idxs', [[3,0,-1], [5,5,5], np.arange(N)[::-1], [True]+[False]*(N-1), np.arange(N)%3==1, []], ids=str)
    def test_rows_by_number(self, src, rows, idxs):
        numbers = np.arange(N)[np.asarray(idxs, bool if len(idxs)==N and isinstance(idxs[0], (bool,np.bool_)) else int)]
        self.same(src[idxs], self.at(rows, numbers))

    def test_part_of_a_row(self, src, rows):
        "As of an array, whose first index is the row"
        if isinstance(rows[7], np.ndarray) and rows[7].ndim:
            for i in ((7,0), (np.int64(7),slice(0,1)), (-1,...,0)): np.testing.assert_array_equal(src[i], rows[i[0]][i[1:]])
        with pytest.raises(IndexError): src[()]

    def test_rows_and_values(self, src):
        "Not two rows, and not two values: which of both is meant nobody knows"
        with pytest.raises(IndexError): src[[3,5],0]

    @pytest.mark.parametrize('i', [N, -N-1, [0,N], np.array([-N-1]), range(N-1,N+2)], ids=str)
    def test_out_of_range(self, src, i):
        number = {N:N, -N-1:-N-1}.get(i) if isinstance(i, int) else (-N-1 if not isinstance(i, range) and i[0]<0 else int(i[-1]))
        with pytest.raises(IndexError, match=f'{number} is out of range for {N} '): src[i]

    @pytest.mark.parametrize('i', [[[1,2]], [1.5], [True]*3], ids=str)
    def test_not_an_index(self, src, i):
        with pytest.raises(IndexError): src[i]

    def test_reader(self, src, rows):
        "Any order, twice, ascending, and into memory of the caller's"
        reader = src.reader()
        assert reader.n_rows==N and isinstance(reader.row_bytes, int)
        if src.dtype is not None: assert reader.row_bytes>0
        for numbers in (rng.integers(0, N, 25), np.arange(N), np.array([7]*5), rng.permutation(N).astype('u1'), np.array([], int)):
            self.same(reader.read(numbers), self.at(rows, numbers))
            out = self.out(src, len(numbers))
            got = reader.read(numbers, out)
            assert out is None or got is out
            self.same(got, self.at(rows, numbers))

    @pytest.mark.parametrize('known', [True,False])
    def test_epoch(self, src, rows, known):
        "Announced some batches ahead, or not"
        batches = rng.permutation(N).reshape(6, 10)
        reads = src.reader().epoch(N, np.arange(N), batches[0]) if known else src.reader().epoch()
        tickets = [reads.announce(b) for b in batches]
        for b,t in zip(batches, tickets): self.same(reads.read(b, self.out(src, 10), t), self.at(rows, b))
        self.same(reads.read(batches[0], self.out(src, 10)), self.at(rows, batches[0]))
        assert reads.n_rows==N+10 and reads.n_bytes==self.n_bytes(reads, rows, [*batches.reshape(-1),*batches[0]])
        assert reads.way in ('memory','mapped','cached','direct','computed')
        share = reads.share_in_memory
        assert share is None and reads.way=='computed' or 0<=share<=1
        assert reads.only_copies in (True,False) and (reads.sweep_part is None or reads.sweep_part.n_bytes)
        if src.in_memory: assert reads.only_copies and reads.way=='memory'
        reads.close()

    def test_two_epochs_at_once(self, src, rows):
        "What one does, or that it ends, is nothing to the other"
        reader = src.reader()
        one,two = reader.epoch(),reader.epoch(5)
        numbers = np.arange(N)[::-7]
        ticket,other = two.announce(numbers),one.announce(numbers)
        self.same(one.read(numbers, self.out(src, len(numbers)), other), self.at(rows, numbers))
        one.close()
        self.same(two.read(numbers, self.out(src, len(numbers)), ticket), self.at(rows, numbers))
        assert (one.n_rows,two.n_rows)==(len(numbers),len(numbers))

    def test_threads(self, src, rows):
        reader = src.reader()
        def one(seed):
            numbers = np.random.default_rng(seed).integers(0, N, 20)
            reads = reader.epoch(20, numbers)
            got = [reads.read(numbers, self.out(src, 20), reads.announce(numbers)), reader.read(numbers), src[numbers]]
            for o in got: self.same(o, self.at(rows, numbers))
            return np.array_equal(src[int(numbers[0])], rows[int(numbers[0])])
        with ThreadPoolExecutor(8) as pool: assert all(pool.map(one, range(40)))

    def test_pickle(self, src, rows):
        "The handle gives the rows again; of what lies in a file it is small"
        numbers = np.arange(0, N, 7)
        for again in (as_source(pickle.loads(pickle.dumps(src.handle())).open()), pickle.loads(pickle.dumps(src))):
            assert len(again)==N and again.dtype==src.dtype and on_disk(again)==on_disk(src)
            self.same(again.reader().read(numbers), self.at(rows, numbers))
        if on_disk(src): assert len(pickle.dumps(src.handle()))<self.most_pickled

    @pytest.mark.skipif(sys.platform=='win32', reason='Windows has no fork')
    def test_fork(self, src, rows):
        "A child reads with its parent's reader, and with the reads of an epoch that has begun"
        reader = src.reader()
        reads,numbers = reader.epoch(),np.arange(0, N, 7)
        reads.read(numbers, self.out(src, len(numbers)))
        def child():
            self.same(reader.read(numbers), self.at(rows, numbers))
            self.same(reads.read(numbers, self.out(src, len(numbers))), self.at(rows, numbers))
        p = multiprocessing.get_context('fork').Process(target=child)
        p.start(); p.join(60)
        assert p.exitcode==0

    def test_items(self, src, rows):
        "As one of several elements of samples"
        items = itemify(self.wrapped(src), np.arange(N))
        part = items[10:40][[3,0,-1]]
        assert items.sources[0].shape==src.shape and part.row_numbers(np.array([1,2])).tolist()==[10,39]
        self.same(part.batch([0,2])[0], self.at(rows, [13,39]))
        assert part.reader(0) is items.reader(0)
        assert np.array_equal(part[1][0], rows[10]) and part[1][1]==10

    def wrapped(self, src): return src.wrapped

    def test_select(self, src, rows):
        "What is selected, and what is left to take of the rows, make the same as NumPy does of all rows"
        if src.ndim!=3: return
        numbers = np.array([4,0,33])
        for vars,steps in self.selections:
            part,left = src.select(vars, steps)
            got = part.reader().read(numbers)
            if left: got = got[:,left[0]][:,:,left[1]]
            self.same(got, self.selected(rows, numbers, vars, steps))

    def test_no_silent_load(self, src):
        if isinstance(self.wrapped(src), Source):
            with pytest.raises(TypeError, match='loaded'): np.asarray(src)

X = rng.integers(-99, 99, (N,3,8)).astype('f4')

class Array(SourceTests):
    "An array in RAM"
    array = X
    def make(self, folder): return self.array
    def want(self): return np.array(self.array)

class Mapped(Array):
    "The same on disk"
    def make(self, folder):
        np.save(folder/'X.npy', self.array)
        return folder/'X.npy'

class TestArray(Array): pass
class TestMapped(Mapped): pass
class TestFortran(Mapped): array = np.asfortranarray(X)
class TestBigEndian(Mapped): array = X.astype('>f4')
class TestOneValue(Mapped): array = np.arange(N)
class TestLabels(Array): array = np.array(['cat','dog','eel'])[np.arange(N)%3]
class TestObjects(Array): array = np.array(['cat',None,3.5], object)[np.arange(N)%3]
class TestRaggedObjects(SourceTests):
    def make(self, folder): return self.want()
    def want(self): return [list(range(i%4)) for i in range(N)]

class TestStrided(Array):
    "A view that is not contiguous"
    def make(self, folder):
        np.save(folder/'X.npy', np.repeat(np.repeat(X, 2, 0), 2, 2))
        return open_memmap(folder/'X.npy')[::2,:,::2]

class TestReversed(Array):
    def make(self, folder):
        np.save(folder/'X.npy', X[::-1])
        return open_memmap(folder/'X.npy')[::-1]

class TestField(Array):
    "A field of a structured array: values between others"
    def make(self, folder):
        a = np.zeros(N, [('id','i2'),('X','f4',(3,8)),('more','u1')])
        a['X'] = X
        np.save(folder/'X.npy', a)
        return open_memmap(folder/'X.npy')['X']

class TestWritable(Array):
    "Opened to write: rows show what is written, and are not written through"
    def make(self, folder):
        np.save(folder/'X.npy', X)
        return open_memmap(folder/'X.npy', 'r+')

class TestTensor(Array):
    def make(self, folder): return torch.from_numpy(X)

class TestTable(Array):
    array = X[:,:,0]
    def make(self, folder):
        import pandas as pd
        return pd.DataFrame(self.array, columns=list('abc'))

class TestList(SourceTests):
    def want(self): return [f'row {i}' for i in range(N)]
    def make(self, folder): return self.want()

class TestTuple(TestList):
    def make(self, folder): return tuple(self.want())
class TestL(TestList):
    def make(self, folder): return L(self.want())

class WindowsTests(SourceTests):
    "60 windows of a series on disk"
    ascending = True
    which,first,disk,kw = 0,True,True,dict(window_len=8, horizon=2)
    def make(self, folder):
        a = np.random.default_rng(1).normal(size=(self.steps(),3)).astype('f4')
        a = a if self.first else np.ascontiguousarray(a.T)
        if self.disk:
            np.save(folder/'series.npy', a)
            a = folder/'series.npy'
        res = windows(a, seq_first=self.first, **self.kw)[self.which]
        assert len(res)==N
        return res

    def steps(self): return N-1+8+2
    def starts(self): return range(N)
    def want(self):
        a = np.random.default_rng(1).normal(size=(self.steps(),3)).astype('f4')
        X = [np.stack([a[s:s+8][:,self.kw.get('get_x', slice(None))].T for s in self.starts()])]
        X.append(np.stack([a[s+8:s+10].T for s in self.starts()]))
        return X[self.which]

class TestWindows(WindowsTests): pass
class TestWindowsInRAM(WindowsTests): disk = False
class TestTargets(WindowsTests):
    "The two steps after each window"
    which,selections = 1,[(slice(1,None),slice(1)), (np.array([1,0]),slice(None,None,-1))]
class TestWindowsOfVarsFirst(WindowsTests): first = False
class TestWindowsUneven(WindowsTests): kw = dict(window_len=8, horizon=2, get_x=[2,0])
class TestWindowsUnevenVarsFirst(TestWindowsUneven): first = False
class TestWindowsOfGroups(WindowsTests):
    "Two groups, every second step"
    kw = dict(window_len=8, horizon=2, stride=2, groups=[38,98])
    def steps(self): return 136
    def starts(self): return [*range(0, 29, 2), *range(38, 127, 2)]
class TestWindowsPart(WindowsTests):
    "A slice of more windows"
    def steps(self): return 2*N+10+9
    def starts(self): return range(10, 10+2*N, 2)
    def make(self, folder):
        a = np.random.default_rng(1).normal(size=(self.steps(),3)).astype('f4')
        np.save(folder/'series.npy', a)
        return windows(folder/'series.npy', **self.kw)[0][10:10+2*N:2]

def in_files(folder, a, cuts=(7,7,20,59)):
    "`a` in files, one of them empty"
    fns = [folder/f'{k}.npy' for k in range(len(cuts)+1)]
    for fn,part in zip(fns, np.split(a, cuts)): np.save(fn, part)
    return fns

class Files(SourceTests):
    "Rows of several files"
    array = X
    def make(self, folder): return open_memmaps(in_files(folder, self.array))
    def want(self): return np.array(self.array)

class TestFiles(Files): pass
class TestFilesOfOneValue(Files): array = np.arange(N)
class TestFilesBigEndian(Files): array = X.astype('>f4')
class TestFilesOfText(Files): array = np.array(['cat','dog','eel'])[np.arange(N)%3]
class TestFilesPart(Files):
    "Some of the rows, backwards"
    def make(self, folder): return open_memmaps(in_files(folder, np.repeat(X, 3, 0)[::-1]))[::-3]
    def want(self): return X
class TestFilesSomeColumns(Files):
    def make(self, folder): return open_memmaps(in_files(folder, np.pad(np.repeat(X, 2, 2), [(0,0),(2,1),(0,0)])))[:,2:5,::2]
class TestFilesUnevenColumns(Files):
    def make(self, folder): return open_memmaps(in_files(folder, X[:,[2,0,1]][...,::-1]))[:,[1,2,0],[7,6,5,4,3,2,1,0]]
class TestFilesFarColumns(Files):
    "Each row in three pieces"
    def make(self, folder): return open_memmaps(in_files(folder, np.pad(X, [(0,0),(0,0),(1,3000)])))[:,:,1:9]
class TestFilesWithVars(Files):
    array = X[:,:1]
    selections = [(slice(None),slice(2,3)), (np.array([0,0]),slice(1,4)), (slice(1),np.array([5,0]))]
    def make(self, folder): return open_memmaps(in_files(folder, X[:,0]))[:,None]
class TestFilesOfOtherDtypes(Files):
    def make(self, folder):
        fns = in_files(folder, X)
        for k,dtype in ((0,'f8'),(2,'i2'),(3,'>f4')): np.save(fns[k], np.load(fns[k]).astype(dtype))
        return open_memmaps(fns, dtype='f4')
class TestFilesAndArrays(Files):
    "Files, arrays in RAM, mapped ones of all kinds, a file in Fortran order"
    most_pickled = 2500
    def make(self, folder):
        fns = in_files(folder, X, (5,10,15,20,25,40))
        for k in (1,6): np.save(fns[k], np.asfortranarray(np.load(fns[k])))
        np.save(folder/'strided.npy', np.repeat(X[15:20], 2, 2))
        arrays = [fns[0], fns[1], X[10:15], open_memmap(folder/'strided.npy')[...,::2], open_memmap(fns[4], 'r+'), open_memmap(fns[5])[:9]]
        return open_memmaps([*arrays, open_memmap(fns[5])[9:], fns[6]])

class WindowsOfFiles(WindowsTests):
    "Each file a series; one is too short"
    cuts,files_kw,fortran,most_pickled = (38,42),{},False,1900
    def steps(self): return 38+4+40
    def starts(self): return [*range(38-9), *range(42, 42+31)]
    def make(self, folder):
        a = np.random.default_rng(1).normal(size=(self.steps(),3)).astype('f4')
        fns = in_files(folder, a, self.cuts)
        if self.fortran: np.save(fns[0], np.asfortranarray(np.load(fns[0])))
        res = windows(open_memmaps(fns), 8, **{**self.kw, **self.files_kw})[self.which]
        assert len(res)==N, len(res)
        return res
class TestWindowsOfFiles(WindowsOfFiles): kw = dict(horizon=2)
class TestTargetsOfFiles(WindowsOfFiles):
    which,kw,selections = 1,dict(horizon=2),TestTargets.selections
class TestWindowsOfFilesUneven(WindowsOfFiles): kw = dict(horizon=2, get_x=[2,0])
class TestWindowsOverFiles(WindowsOfFiles):
    "One series in several files, of which windows have parts of two and three"
    kw,cuts,files_kw = dict(horizon=2),(20,21,22,50),dict(groups=[N+9])
    def steps(self): return N+9
    def starts(self): return range(N)
class TestWindowsOfFilesInFortranOrder(WindowsOfFiles): kw,fortran = dict(horizon=2),True

lengths = np.random.default_rng(3).integers(1, 9, N)
lengths[[4,33]] = 8
steps = rng.integers(-99, 99, (lengths.sum(),3)).astype('f4')

class Samples(list):
    "Samples of their own length, and what an array of them would say"
    def __init__(self, rows, shape):
        super().__init__(rows)
        self.shape,self.dtype = shape,rows[0].dtype

class RaggedTests(SourceTests):
    "60 samples of 1 to 8 steps"
    selections = [(slice(1,None),slice(None)), (slice(0,3,2),slice(0,8)), (np.array([1,0]),np.arange(8))]
    values,most_pickled = steps,2100 # of which lengths are 1,000
    def make(self, folder): return ragged(self.on_disk(folder), lengths)
    def on_disk(self, folder):
        np.save(folder/'values.npy', self.values)
        return folder/'values.npy'
    def want(self):
        rows = [np.ascontiguousarray(o.T) for o in np.split(self.values, np.cumsum(lengths)[:-1])]
        return Samples(rows, (N,*rows[0].shape[:-1],8))
    def out(self, src, n): return None
    def at(self, rows, idxs): return [rows[i] for i in idxs]
    def same(self, got, want):
        assert isinstance(got, list) and len(got)==len(want)
        for a,b in zip(got, want): SourceTests.same(self, a, b)
    def n_bytes(self, reads, rows, numbers): return sum(rows[i].nbytes for i in numbers)
    def selected(self, rows, numbers, vars, steps): return [rows[i][vars] for i in numbers]
    def test_some_steps(self, src):
        if src.ndim==3:
            with pytest.raises(ValueError, match='max_len'): src.select(slice(None), slice(2,4))

class TestRagged(RaggedTests): pass
class TestRaggedInRAM(RaggedTests):
    def on_disk(self, folder): return steps
class TestRaggedLengthsOnDisk(RaggedTests):
    most_pickled = 1300
    def make(self, folder):
        np.save(folder/'lengths.npy', lengths)
        return ragged(self.on_disk(folder), folder/'lengths.npy')
class TestRaggedVarsFirst(RaggedTests):
    "A file of (vars, steps), each variable a piece of its own"
    def on_disk(self, folder):
        np.save(folder/'values.npy', np.pad(steps, [(0,2000),(0,0)]).T.copy())
        return open_memmap(folder/'values.npy').T[:len(steps)]
class TestRaggedFarSteps(RaggedTests):
    "Three columns of 2,003, so that each step is a piece"
    def on_disk(self, folder):
        np.save(folder/'values.npy', np.pad(steps, [(0,0),(2,2000)]))
        return open_memmap(folder/'values.npy')[:,2:5]
class TestRaggedOfLabels(RaggedTests):
    "One a step"
    values = np.array(['rest','walk','run'])[np.arange(lengths.sum())%3]
    most_pickled = 2100
class TestRaggedPart(RaggedTests):
    "Every second of other samples between, backwards, with steps that belong to none"
    most_pickled = 3000
    def make(self, folder):
        rows = [np.full((k%3,3), -1, 'f4') if k%2 else o for k,o in zip(range(2*N), [x for o in self.want()[::-1] for x in (o.T,0)])]
        many = np.array([max(len(o), 1) for o in rows])
        rows = [o if len(o) else np.zeros((1,3), 'f4') for o in rows]
        np.save(folder/'values.npy', np.concatenate([np.zeros((5,3), 'f4'),*rows]))
        return ragged(folder/'values.npy', [len(o) for o in rows], 5+np.cumsum(many)-many)[-2::-2]
class TestRaggedFiles(RaggedTests):
    "Each sample in a file of its own"
    most_pickled = 9000
    def make(self, folder):
        for k,o in enumerate(self.want()): np.save(folder/f'{k:02}.npy', o.T)
        return ragged(open_memmaps(folder/'*.npy'))
class TestRaggedAcrossFiles(RaggedTests):
    "Samples begin in one file and end in the next, or in the one after"
    most_pickled = 2800
    def make(self, folder): return ragged(open_memmaps(in_files(folder, steps, (3,3,4,90,101))), lengths)
class TestRaggedColumnsOfFiles(TestRaggedAcrossFiles):
    def make(self, folder):
        return ragged(open_memmaps(in_files(folder, np.pad(steps, [(0,0),(1,2)])[:,::-1], (9,40)))[:,[4,3,2]], lengths)
class TestRaggedFarStepsOfFiles(TestRaggedAcrossFiles):
    def make(self, folder): return ragged(open_memmaps(in_files(folder, np.pad(steps, [(0,0),(1,2000)]), (9,40)))[:,1:4], lengths)
class TestRaggedFilesOfAllKinds(TestRaggedAcrossFiles):
    def make(self, folder):
        fns = in_files(folder, steps, (9,40,77))
        np.save(fns[1], np.load(fns[1]).astype('f8'))
        return ragged(open_memmaps([fns[0],fns[1],steps[40:77],fns[3]], dtype='f4'), lengths)

class PaddedTests(RaggedTests):
    "The same as batches: each as long as its longest sample"
    rule = PadRule(value=7)
    def make(self, folder): return Padded(super().make(folder), self.rule)
    def same(self, got, want):
        n = max((o.shape[-1] for o in want), default=0)
        assert isinstance(got, np.ndarray) and (not len(want) or got.dtype==want[0].dtype) and got.shape[::2]==(len(want),n)
        for x,o in zip(got, want):
            k = o.shape[-1]
            np.testing.assert_array_equal(x, np.pad(o, [(0,0),(0,n-k) if self.rule.side=='end' else (n-k,0)], constant_values=7))
class TestPadded(PaddedTests): pass
class TestPaddedAtTheStart(PaddedTests): rule = PadRule('start', 7)
class TestPaddedCropped(PaddedTests):
    rule = PadRule(value=7, max_len=3, keep='end')
    selections = [(slice(1,None),slice(None)), (np.array([1,0]),slice(None))]
    def want(self): return Samples([o[:,-3:] for o in super().want()], (N,3,3))
class TestPaddedFiles(PaddedTests):
    most_pickled = 2800
    make_ragged = TestRaggedAcrossFiles.make
    def make(self, folder): return Padded(self.make_ragged(folder), self.rule)

class TestComputed(SourceTests):
    "A source that has `row` only: nothing lies anywhere"
    def make(self, folder): return Ramps(N)
    def want(self): return np.stack([Ramps(N).row(i) for i in range(N)])

class TestPartOfComputed(TestComputed):
    def make(self, folder): return Ramps(3*N)[5:5+2*N:2]
    def want(self): return np.stack([Ramps(3*N).row(5+2*i) for i in range(N)])

def test_every_case_has_run():
    "A class without `Test` before its name is not collected"
    def all_of(cls): return [cls, *(o for c in cls.__subclasses__() for o in all_of(c))]
    base = {SourceTests,Array,Mapped,WindowsTests,Files,WindowsOfFiles,RaggedTests,PaddedTests}
    assert all(c.__name__.startswith('Test') for c in set(all_of(SourceTests))-base)

@pytest.mark.parametrize('bad,err,words', [(3,TypeError,"rows from int: pass an array"), (np.array(1),TypeError,'no rows'), (np.ma.masked_equal([1,2], 2),ValueError,'masked values'),
    ('no.npy',FileNotFoundError,'create_memmap'), ({'a':1},TypeError,'from dict'), (iter([1]),TypeError,'rows from list_iterator')])
def test_no_source(bad, err, words):
    with pytest.raises(err, match=words): as_source(bad)

def test_as_array(data):
    assert as_array(data[0]).shape==(200,3,20) and as_array([1,2]).tolist()==[1,2]
    ramps = Ramps(3)
    assert as_array(ramps) is ramps
    with pytest.raises(NotImplementedError, match='`row'): Source().row(0)

def test_spawned_workers(tmp_path):
    "Sources of all kinds go to processes that know nothing yet"
    (tmp_path/'run.py').write_text(textwrap.dedent('''
        import sys, numpy as np
        from multiprocessing import get_context
        from memmap_ts.all import *
        from computed import Ramps
        def total(src): return float(sum(src[i].sum() for i in range(len(src))))
        if __name__=='__main__':
            from memmap_ts.data.source import as_source
            create_memmap('X.npy', (9,2,3))[:] = 1
            X,y = windows(np.arange(20.), 4, horizon=1)
            create_memmap('values.npy', (9,2))[:] = 3
            samples = [ragged('values.npy', [4,5]), ragged(np.ones(9), [4,5])[1:]]
            srcs = [as_source(o) for o in ('X.npy', np.ones((3,2)), X, Ramps(4), Ramps(9)[2:4], *samples)]
            with get_context('spawn').Pool(1) as pool: assert pool.map(total, srcs)==list(map(total, srcs))
            print('fine')'''))
    r = subprocess.run([sys.executable, 'run.py'], cwd=tmp_path, env=_with_tests_on_path(), capture_output=True, text=True, timeout=300)
    assert r.returncode==0 and r.stdout.strip().endswith('fine'), r.stdout+r.stderr

def _with_tests_on_path():
    return {**os.environ, 'PYTHONPATH':os.pathsep.join([str(Path(computed.__file__).parent), os.environ.get('PYTHONPATH', '')])}
