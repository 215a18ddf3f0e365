"""
Headers of `.npy` files that say what is not true: one kind of error, or the array that NumPy opens.

`MEMMAP_TS_LONG=1 pytest tests/test_headers.py` tries many more.
"""
import io, json, os, random, tracemalloc, warnings, numpy as np, pytest
from contextlib import contextmanager
from numpy.lib import format as npy
from memmap_ts.all import *
from memmap_ts.npy.header import header_bytes
from memmap_ts.store import file_header
from memmap_ts.summary.cache import StatsCache
from memmap_ts.writing.part import UnfinishedFile
from harness import long_or

def file_with(text, version=(1,0), data=bytes(400)):
    "The content of a file whose header is `text`"
    room = 117 if version==(1,0) else 115
    raw = (text.rstrip('\n').ljust(room)+'\n').encode('utf8' if version==(3,0) else 'latin1')
    return npy.magic(*version)+len(raw).to_bytes(2 if version==(1,0) else 4, 'little')+raw+data

def says(shape='(4, 3)', descr="'<f8'", fortran='False'):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"

def write_new(fn, content):
    "Write a file that is new: one that is emptied and written again is put on the disk at once"
    fn.unlink(missing_ok=True)
    fn.write_bytes(content)
    return fn

@pytest.fixture
def file(tmp_path): return lambda content: write_new(tmp_path/'a.npy', content)

# Each of them escaped as another error, passed the check of the size, or opened with another shape than `np.load`
@pytest.mark.parametrize('text', [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4", # TokenError
    says(descr='5'), says(descr="('<f8',)"), says(descr="[('a', 5)]"), # TypeError, IndexError
    says(descr="'<U1000000000000'"), says(descr="('<f8', 10**10)"), says('(0, 1000000000000000000000000)'), # OverflowError
    says('(4 3)'), says(descr="'f8, (2'"), # SyntaxError
    '('*5000, says('('*300+')'*300), '-'*9000+'1', '['*9000, # MemoryError, RecursionError
    says('(-4, -3)'), says('(-1, 0)'), says('(4, -3)'), says('(True, 3)'), says('[4, 3]'), says('4'), says('(4., 3)'),
    says('(0, 4611686018427387904, 4)'), says(f'({"1, "*70})'), says('(1000000000000,)', "'|V0'", '1'),
    says(descr="'<1f8'"), says(descr="'(2,3)f4'"), says(descr="('<f8', (2,))"), # shapes of their own
    says(fortran='0'), says(fortran='None'), '5', '[1]', '{}', "{'descr': '<f8'}", says()+'x', says().replace("'shape'", '1'),
    says()+' '*20_000, says('('+'1'*5000+',)'), '\0'+says(), says(descr="'<f8\\x00'"), says(descr='None'), says(descr="''"),
])
@pytest.mark.filterwarnings('ignore')
def test_wrong_header(file, text):
    for version in (1,0),(2,0),(3,0):
        with pytest.raises(ValueError, match='a.npy .*not a .npy file|a.npy is truncated'):
            open_memmap(file(file_with(text, version)))

def test_length_is_only_a_claim(file):
    "A header of 4 GB is neither read nor given room"
    for head in b'\x93NUMPY\x02\x00\xff\xff\xff\xff', b'\x93NUMPY\x01\x00\xff\xff', b'\x93NUMPY\x03\x00\xff\xff\xff\x7f{':
        fn = file(head+bytes(100))
        with little_memory(), pytest.raises(ValueError, match='not a .npy file.*header'): open_memmap(fn)

@contextmanager
def little_memory(most=2**21):
    "What is done takes no more than `most` bytes at any time"
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1]<most
    finally: tracemalloc.stop()

NAMES = [('Größe','f4'),('温度','<i8',(2,)),('a','U3')]

def test_version_3(file, tmp_path):
    "Names outside Latin-1: opened, made, written and resumed without a warning"
    a = np.zeros(5, NAMES)
    a['温度'],a['a'] = np.arange(10).reshape(5,2),'é'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        np.save(tmp_path/'a.npy', a)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        got = open_memmap(tmp_path/'a.npy')
        made = create_memmap(tmp_path/'b.npy', 5, a.dtype)
        made[:] = a
        written = to_memmap(got, tmp_path/'c.npy', chunk_rows=2, progress=False)
        with pytest.raises(KeyboardInterrupt), MemmapWriter(tmp_path/'d.npy', resume=True) as w:
            w.append(a[:3])
            raise KeyboardInterrupt
        with MemmapWriter(tmp_path/'d.npy', resume=True) as w: w.append(a[w.rows:])
    for b in got,made,written,np.load(tmp_path/'b.npy'),np.load(tmp_path/'c.npy'),np.load(tmp_path/'d.npy'):
        np.testing.assert_array_equal(b, a)
    assert w.rows==5 and written.offset==len((tmp_path/'a.npy').read_bytes())-a.nbytes

def test_numbers_of_numpy_in_a_header(tmp_path):
    "`np.lib.format.open_memmap` writes them, and nothing reads them again"
    fn = tmp_path/'a.npy'
    m = npy.open_memmap(fn, 'w+', 'i4', tuple(np.array([5,3])), np.True_)
    m[:] = np.arange(15).reshape(5,3)
    m.flush()
    with pytest.raises(ValueError, match='The values are whole: `memmap_ts_convert .*a.npy new.npy`'): open_memmap(fn)
    h,_ = file_header(fn, True)
    got = np.memmap(fn, h.dtype, 'r', h.offset, h.shape, 'F' if h.fortran else 'C')
    np.testing.assert_array_equal(got, np.arange(15).reshape(5,3))
    np.save(fn, np.zeros(3, [(np.str_('a'),'f4')]))
    with pytest.raises(ValueError, match='memmap_ts_convert'): open_memmap(fn)
    assert file_header(fn, True)[0].dtype==np.dtype([('a','f4')])
    assert create_memmap(tmp_path/'b.npy', 3, [(np.str_('a'),'f4')]).dtype.names==('a',)
    np.save(fn, np.ones((2,3)))
    assert file_header(fn, True)[0][:2]==((2,3),False)
    fn.write_bytes(fn.read_bytes()[:-1])
    with pytest.raises(ValueError, match='truncated'): file_header(fn, True)

def test_python_2(file):
    a = open_memmap(file(file_with(says('(4L, 3L)', "[('5L', '<f8')]"))))
    assert a.shape==(4,3) and a.dtype.names==('5L',)

@pytest.mark.parametrize('dtype', ['f4','>i2','U0','U7','S3','?','M8[s]','V5',np.longdouble,[('a','f4'),('b','i8',(2,))],
                                   np.dtype([('a','i1'),('b','f8')], align=True), [(('title','name'),'f4')]])
def test_header_as_numpy_writes_it(dtype):
    for shape in (),(0,),(5,),(10**15,3,2),(1,)*60:
        f = io.BytesIO()
        dtype = np.dtype(dtype)
        npy.write_array_header_1_0(f, dict(shape=shape, fortran_order=False, descr=npy.dtype_to_descr(dtype)))
        assert header_bytes(shape, dtype)==f.getvalue()

def test_dtype_that_would_come_back_as_another(tmp_path, saved):
    fn = saved(np.ones(3))
    with pytest.raises(TypeError, match='shape of the array'): create_memmap(fn, 5, '(2,3)f4', overwrite=True)
    with pytest.raises(ValueError, match='1,500 fields'):
        create_memmap(fn, 5, [(f'f{i}','f4') for i in range(1500)], overwrite=True)
    assert open_memmap(fn).sum()==3

# Mutations

SEEDS = [says(), says('(10,)', "'|u1'"), says('(2, 3, 4)', "'<f4'", 'True'), says('(0, 3)'), says('()'), says('(4L, 3L)'),
         says('(5,)', "'<U4'"), says('(5,)', "[('a', '<f4'), ('b', '<i8', (2,))]"), says('(np.int64(5), 3)')]
NUMBERS = ['0','-1','2','1','9','99999999999','3L','1e3','18446744073709551616','9223372036854775807','True','1'*4400,
           'np.int64(5)','1_0','1j','0x2','"3"','4,','()',' 3 ']
DTYPES = ['<f8','>i2','|O','<1f8','(2,3)f4','<U1000000000000','<U400000000','|V0','<U0','|V2','f4,f4','<M8','<M8[s]','float32','a4',
          'q','<f16','<c8','?','|S','T','é',',','<q9','\\x00','5<f8']
OTHERS = ["'",'"','(',')',',','[',']','{','}',':','\\','\n','#','-','L',' ','None','shape','descr','fortran_order','(,)','np.True_',
          '('*200,'-'*300,"b''",'f""','u""','\0','"\\d"']

def mutated_text(text, r):
    "Header `text` with one thing changed"
    kind = r.randrange(4)
    if kind==0: return text.replace(r.choice(['4','3','5','10','2']), r.choice(NUMBERS), 1)
    if kind==1: return text.replace(r.choice(['<f8','<f4','<U4','|u1','<i8']), r.choice(DTYPES), 1)
    if kind==2: return text.replace(r.choice(['False','shape','(',')',',',':','{']), r.choice(OTHERS), 1)
    i = r.randrange(len(text))
    return text[:i]+r.choice(OTHERS)+text[i+r.choice([0,0,1,2,6]):]

def mutated_bytes(content, r):
    "The file `content` with one thing changed"
    i,kind = r.randrange(min(len(content), 150)),r.randrange(6)
    if kind==0: return content[:i]+r.randbytes(1)+content[i+1:]
    if kind==1: return content[:i]+bytes([content[i]^1<<r.randrange(8)])+content[i+1:]
    if kind==2: return content[:i]+content[i+r.choice([1,1,5]):]
    if kind==3: return content[:i]+r.randbytes(r.choice([1,1,5]))+content[i:]
    if kind==4: return content[:8]+r.randbytes(r.choice([1,2,4]))+content[12:]
    return content[:r.randrange(len(content))]

def mutant(r):
    "The content of a file whose header is a little wrong, or not at all"
    text = r.choice(SEEDS)
    for _ in range(r.choice([0,1,1,2])): text = mutated_text(text, r)
    version = r.choice([(1,0),(2,0),(3,0)])
    content = file_with(text, version, bytes(r.choice([0,10,400,400,400])))
    return mutated_bytes(content, r) if r.random()<.3 else content

def as_numpy_has_it(fn):
    "The array that NumPy maps, and has the same shape when it is loaded; None if there is none"
    try: a,b = np.load(fn, mmap_mode='r'),np.load(fn)
    except Exception: return None # it does not say which
    return a if a.shape==b.shape and a.dtype==b.dtype else None

def opened(fn):
    "The array that we map, or None; and the error"
    try: return open_memmap(fn),''
    except ValueError as e:
        assert 'a.npy' in str(e) and len(str(e))<1000
        return None,str(e)

@pytest.mark.filterwarnings('ignore')
def test_mutated_headers(file):
    "Mutated headers open as NumPy opens them, or are a ValueError; and take no memory"
    r = random.Random(1)
    n_open = 0
    for i in range(long_or(3000, 100_000)):
        content = mutant(r)
        fn = file(content)
        with little_memory(): ours,error = opened(fn)
        if 'a shape of its own' in error or 'more than any array' in error: continue # NumPy may die of them
        if ours is None and len(content)<12+int.from_bytes(content[8:12], 'little') and content[6:7]>b'\1':
            continue # NumPy gives a header all the room it asks for
        numpys = as_numpy_has_it(fn)
        if ours is None: assert numpys is None or b'True' in content, content # a size that is True
        else:
            n_open += 1
            assert numpys is not None, content
            assert (ours.shape,ours.dtype,ours.flags.c_contiguous)==(numpys.shape,numpys.dtype,numpys.flags.c_contiguous)
    assert n_open>i/5

@pytest.mark.filterwarnings('ignore')
def test_mutated_headers_of_unfinished_files(tmp_path):
    "An unfinished file has the rows that its header says, as far as they are there, or none"
    r = random.Random(2)
    n_resumed = 0
    for i in range(long_or(1000, 20_000)):
        content = mutant(r)
        write_new(tmp_path/'a.npy.part', content)
        part = UnfinishedFile(tmp_path/'a.npy')
        with little_memory(): n = part.resume()
        assert n==part.n_left()
        if n:
            n_resumed += 1
            rows = part.layout.mapped(part.path, 0, n)
            assert part.layout.offset(n)<=len(content)
            part.write_header(n)
            np.testing.assert_array_equal(open_memmap(part.path), rows)
        part.close(keep=False)
    assert n_resumed>i/20

def test_unfinished_file_of_somebody_else(tmp_path):
    "Rows in the order of Fortran, or behind a longer header, are not gone on with"
    a = np.arange(12.).reshape(3,4)
    for content in (file_with(says('(3, 4)')+' '*180, data=a.tobytes()), file_with(says('(3, 4)', fortran='True'))):
        (tmp_path/'a.npy.part').write_bytes(content)
        with MemmapWriter(tmp_path/'a.npy', resume=True, overwrite=True) as w:
            assert w.rows==0
            w.append(a)
        np.testing.assert_array_equal(np.load(tmp_path/'a.npy'), a)

def mutated_json(text, r):
    "The content of a file of statistics that is a little wrong, and no longer says the same"
    i,kind = r.randrange(len(text)),r.randrange(6)
    part = r.choice(['', '1', '9', '-', '.', 'e9', '"', '[', ']', '{', '}', ',', 'null', 'NaN', 'Infinity', '1e999', '0'*5000])
    if kind==0: return r.choice(['', '5', '[[]]', '[5]', '{}', '[{}]', '[{"key":{}}]', '['*100_000, '{"a":'*100_000, '"é'])
    if kind==1: return text[:i]
    if kind==2: return text[:i]+part+text[i+r.choice([1,2,6,50]):]
    if kind==3: return text[:i]+part+text[i:]
    if kind==4: return text.replace(r.choice(['2','true',', ','[',']','"mean"','"n"','"shape"','100']), part, 1)
    res = json.loads(text)
    res[0][r.choice([*res[0]])] = r.choice([None, 5, 'a', [], {}, [1e300], [10**400], [-1,2], True, [[[[]]]]])
    return json.dumps(res)

def test_mutated_statistics(saved, on_a_disk):
    "Kept statistics are what they were, or none; and are kept again"
    r = random.Random(3)
    X = np.random.default_rng(0).normal(size=(100,2,5)).astype('f4')
    fn = saved(X)
    os.utime(fn, ns=(0,10**18))
    kept,stats = fn.with_name('X.npy.stats.json'),memmap_stats(fn)
    text = kept.read_text()
    cache = StatsCache(open_memmap(fn), [], ('var',))
    truth = cache.load('f4')
    assert truth[0]==100 and (truth[1][2]==stats.mean).all()
    n_found = 0
    for _ in range(long_or(1000, 20_000)):
        write_new(kept, mutated_json(text, r).encode())
        found = cache.load('f4')
        if found is None: continue
        n_found += 1 # a space more or less
        assert found[0]==truth[0] and all((a==b).all() for a,b in zip(found[1], truth[1]))
    assert n_found<_/2
    cache.save(100, truth[1])
    assert cache.load('f4') is not None
    kept.write_bytes(b'\xff'+text.encode())
    assert (memmap_stats(fn).mean==stats.mean).all()

def test_huge_statistics(saved):
    "A file of that name that is too large to be one of ours is not read"
    fn = saved(np.ones((100,2,5)))
    os.utime(fn, ns=(0,10**18))
    with open(fn.with_name('X.npy.stats.json'), 'wb') as f: f.truncate(2**34)
    cache = StatsCache(open_memmap(fn), [], ('var',))
    with little_memory(): assert cache.load('f8') is None
    assert memmap_stats(fn).mean.tolist()==[1,1]
