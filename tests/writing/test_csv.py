"CSV files: no value in another column than its own, and labels as they stand in the file"
import csv, io, warnings, numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from memmap_ts.write import to_memmap
from memmap_ts.writing.csv import CheckedCsv, CsvFormat
from memmap_ts.writing.digits import ExactCsv
from writers import to

def file(path, text, fn='t.csv', **kwargs):
    (path/fn).write_text(text, newline='', **kwargs)
    return path/fn

def write(path, text, **kwargs):
    "X, and y if there is a target, as lists"
    if 'target_col' in kwargs: kwargs['y_fn'] = path/'y.npy'
    made = to(file(path, text), path, overwrite=True, **kwargs)
    return tuple(o.tolist() for o in made) if 'target_col' in kwargs else made.tolist()

def fails(path, text, say, **kwargs):
    if 'target_col' in kwargs: kwargs['y_fn'] = path/'no_y.npy'
    with pytest.raises(ValueError, match=say): to(file(path, text), path, 'no.npy', **kwargs)
    assert not list(path.glob('no*'))

def test_a_separator_at_the_end_of_lines(tmp_path):
    "Programs that write one leave no value behind it, so there is none"
    for text in ('a,b,c\n1,2,3,\n4,5,6,\n', 'a,b,c,\n1,2,3,\n4,5,6,\n', 'a,b,c\n1,2,3,\n4,5,6', 'a,b,c\r\n1,2,3,\r\n4,5,6\r\n'):
        assert write(tmp_path, text)==[[[1,2,3]],[[4,5,6]]]
        assert write(tmp_path, text, data_cols=['b'], target_col='a', y_dtype=int)==([[[2]],[[5]]], [1,4])

@pytest.mark.parametrize('header', [True,False])
@pytest.mark.parametrize('line', ['1,2,9', '3', '1,2,"x', '"1,2"', '1,2,""', '1,2,,'])
@pytest.mark.parametrize('at', [0,3])
def test_a_line_that_does_not_fit(line, at, header, tmp_path):
    "More fields than the header, or less: the error shows the line and its number"
    if not (header or at): pytest.skip('the first line says how many there are')
    text = '\n'.join([*(['a,b'] if header else []), *['3,4']*at, line, '3,4'])
    for chunk_rows in (None,1): fails(tmp_path, text, rf't.csv, line {at+1+header}.*{line[:3]}', chunk_rows=chunk_rows, header=0 if header else None)

def test_numbers_with_a_comma(tmp_path):
    text = 'x;value\n1;0,126\n2;-0,5\n3;1.000,5\n'
    fails(tmp_path, text, r"pass sep=';', and decimal=','")
    fails(tmp_path, text, r"column 'value' does not hold numbers.*decimal=','", sep=';')
    assert write(tmp_path, text, sep=';', decimal=',', thousands='.')==[[[1,.126]],[[2,-.5]],[[3,1000.5]]]
    assert write(tmp_path, text[:16], sep=';', decimal=',', target_col='value', y_dtype='float32')[1]==[np.float32(.126)]
    fails(tmp_path, 'a\tb\n1\t2\n', r"sep='\\t'")
    assert write(tmp_path, 'a\tb\n1\t2\n', sep='\t')==[[[1,2]]]

def test_thousands_in_quotes(tmp_path):
    "The separator may stand between thousands too: quotes tell them apart"
    text = 'a,b\n"1,234",2\n"-3,456,789.5",5\n7,"8,000"\n'
    fails(tmp_path, text, r"column 'a' does not hold numbers.*thousands=','")
    for chunk_rows in (None,1): assert write(tmp_path, text, thousands=',', dtype='float64', chunk_rows=chunk_rows)==[[[1234,2]],[[-3456789.5,5]],[[7,8000]]]
    assert write(tmp_path, text, thousands=',', target_col='b', y_dtype='float32')[1]==[2,5,8000]
    fails(tmp_path, 'a,b\n1,234,2\n', 'line 2: 3 fields, and 2 in the header', thousands=',')
    fails(tmp_path, 'a,b\n"0,5",2\n', 'choose another decimal.*DataFrame', decimal=',')
    fails(tmp_path, 'a;b\n1;2\n', 'choose another decimal', sep=';', decimal=',', thousands=',')

def test_a_point_that_is_no_decimal_point(tmp_path):
    "pandas leaves such numbers as text, of which Python makes others"
    text = 'x;value\n1;1.234\n2;3.456\n'
    for c in ({}, dict(target_col='value', y_dtype='float32')): fails(tmp_path, text, "'value' has '1.234'.*thousands='.'", sep=';', decimal=',', **c)
    assert write(tmp_path, text, sep=';', decimal=',', thousands='.')==[[[1,1234]],[[2,3456]]]
    with pytest.warns(RuntimeWarning, match='read as text'):
        assert write(tmp_path, text, sep=';', decimal=',', target_col='value')[1]==['1.234','3.456']

@pytest.mark.parametrize('thousands,decimal', ['.,',',.'])
def test_steps_in_order_of_thousands(thousands, decimal, tmp_path):
    "What separates thousands is no part of the number that rows are sorted by"
    times = ['999','1.000','1.000,5','9.000','10.000']
    text = 'id;t;x\n'+''.join(f'7;{t};{i}\n' for i,t in enumerate(times)).translate(str.maketrans('.,', thousands+decimal))
    lines = text.splitlines(keepends=True)
    kwargs = dict(sep=';', thousands=thousands, decimal=decimal, sample_col='id', steps_in_rows=True, sort_by='t')
    assert write(tmp_path, ''.join([lines[0], *lines[:0:-1]]), **kwargs)==[[[0,1,2,3,4]]]

def test_a_first_line_of_data(tmp_path):
    "`np.savetxt` with commas: all samples, or an error"
    np.savetxt(tmp_path/'s.csv', np.arange(6.).reshape(3,2), delimiter=',')
    with pytest.raises(ValueError, match='looks like data.*header=None'): to(tmp_path/'s.csv', tmp_path)
    assert to(tmp_path/'s.csv', tmp_path, header=None)[:,0].tolist()==[[0,1],[2,3],[4,5]]
    for text in ('1,2\n3,4\n', 'walk,0.5\nrun,1\n', 'walk,1,1\n', '2020-01-01,-3\n'): fails(tmp_path, text, 'header=None')
    fails(tmp_path, '2020-01-01,5\n2020-01-02,6\n', 'header=None', index_col=0)
    assert write(tmp_path, ',0,1\n7,3,4\n', index_col=0)==[[[3,4]]] # as `DataFrame(X).to_csv()` writes it
    assert write(tmp_path, '0,1\n3,4\n', header=0)==[[[3,4]]]
    assert write(tmp_path, 'walk,0.5\nrun,1\n', header=None, target_col=0)==([[[.5]],[[1]]], ['walk','run'])
    assert write(tmp_path, 'saved today\n\na,b\n1,2\n', skiprows=1)==write(tmp_path, 'u,v,w\na,b\n1,2\n', header=1)==[[[1,2]]]

def test_row_numbers_are_no_variable(tmp_path):
    df = pd.DataFrame(dict(a=[1.,2],b=[3.,4]), index=[7,8])
    df.to_csv(tmp_path/'t.csv')
    text = (tmp_path/'t.csv').read_text()
    fails(tmp_path, text, "'Unnamed: 0' numbers the rows from 7.*index_col=0")
    with pytest.raises(ValueError, match=r"df\.drop"): to(pd.read_csv(tmp_path/'t.csv'), tmp_path)
    assert write(tmp_path, 'a,b\n1,2\n', index_col=False)==[[[1,2]]] # of pandas: no index
    fails(tmp_path, 'a\n1\n', 'no column is left for X', index_col=0)
    for kwargs in (dict(index_col=0), dict(index_col='Unnamed: 0'), dict(data_cols=['a','b'])): assert write(tmp_path, text, **kwargs)==[[[1,3]],[[2,4]]]
    assert write(tmp_path, text, data_cols=['Unnamed: 0','a'])==[[[7,1]],[[8,2]]]
    assert write(tmp_path, ',a\n0.5,1\n2,3\n')==[[[.5,1]],[[2,3]]] # a column without a name, no row numbers

@pytest.mark.parametrize('name', ['id','ID','sample','index','Sample_ID'])
def test_an_id_is_no_variable(name, tmp_path):
    df = pd.DataFrame({name:range(5,25), 's0':.5, 's1':np.arange(20)%3, 'y':'a'})
    fails(tmp_path, df.to_csv(index=False), f"'{name}' numbers the rows from 5.*index_col=0.*sample_col='{name}'.*data_cols", target_col='y')
    with pytest.raises(ValueError, match=f"'{name}' numbers the rows"): to(df, tmp_path, target_col='y', y_fn=tmp_path/'y.npy')
    text = df.drop(columns='y').to_csv(index=False)
    for kwargs in (dict(index_col=0), dict(index_col=name), dict(sample_col=name), dict(data_cols=['s0','s1'])):
        assert np.shape(write(tmp_path, text, **kwargs))==(20,1,2)
    assert np.shape(write(tmp_path, text, data_cols=[name,'s0','s1']))==(20,1,3)
    with pytest.warns(RuntimeWarning, match=f"'{name}' is named like an id, and is taken for data.*index_col=0") as said:
        assert write(tmp_path, df.assign(**{name:df[name]*7}).drop(columns='y').to_csv(index=False))[1]==[[42,.5,1]]
    assert said[0].filename.endswith('writers.py') # where `to_memmap` is called

def test_an_id_of_a_long_table(tmp_path):
    "Many rows have the same: who forgets sample_col hears of it"
    df = pd.DataFrame(dict(id=np.repeat([1,2],10), a=.5, b=1.))
    with pytest.warns(RuntimeWarning, match="'id' is named like an id.*sample_col='id'"): write(tmp_path, df.to_csv(index=False))

def test_a_target_that_was_forgotten(tmp_path):
    df = pd.DataFrame(dict(a=.5, b=1., label=np.arange(20)%3))
    with pytest.warns(RuntimeWarning, match="'label' is named like what is to be predicted, and is taken for data.*target_col='label' and y_fn"): write(tmp_path, df.to_csv(index=False))
    fails(tmp_path, df.assign(label='walk').to_csv(index=False), "'label' does not hold numbers.*target_col is what is to be predicted")
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        write(tmp_path, df.to_csv(index=False), target_col='label')
        write(tmp_path, df.rename(columns=dict(label='y')).to_csv(index=False))

def test_a_first_column_that_counts(tmp_path):
    "Whatever its name: it may be data, so it is written, and told"
    df = pd.DataFrame({'patient':range(1,21), 's0':.5})
    with pytest.warns(RuntimeWarning, match="'patient' counts the rows, from 1 on, and is taken for data.*sample_col='patient'"): write(tmp_path, df.to_csv(index=False))
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        for other in (df[:9], df[['s0','patient']], df.assign(patient=[*range(10)]*2), df.astype('float64'), df[::-1]): write(tmp_path, other.to_csv(index=False))

def test_names_and_no_rows(tmp_path):
    "A file that ends after its header is no array of nothing"
    for kwargs in (dict(), dict(target_col='c'), dict(sample_col='c', steps_in_rows=True), dict(sample_col='c', sort_by='b', steps_in_rows=True), dict(data_cols=['a'])):
        fails(tmp_path, 'a,b,c\n', "no rows, only the names of its columns", **kwargs)
    with pytest.raises(ValueError, match='no rows'): to(pd.DataFrame(dict(a=[],b=[])), tmp_path, 'no.npy')
    some = [file(tmp_path, 'a,b\n', '1.csv'), file(tmp_path, 'a,b\n1,2\n', '2.csv'), file(tmp_path, 'a,b\n', '3.csv')]
    assert to(some, tmp_path).tolist()==[[[1,2]]]

@pytest.mark.parametrize('chunk_rows', [None,1,2,7])
def test_labels_are_what_stands_in_the_file(chunk_rows, tmp_path):
    for labels in (['4019']*9+['V3001'], ['01','1','1.0','1'], ['None','NA','null','n/a','nan','True'], ['x\ny','z, "q"',' a','é']):
        text = io.StringIO()
        csv.writer(text).writerows([['x','y'], *enumerate(labels)])
        assert write(tmp_path, text.getvalue(), target_col='y', chunk_rows=chunk_rows)[1]==labels
    assert write(tmp_path, 'x,y,z\n1,01,NA\n2,1,b\n', target_col=['y','z'], chunk_rows=chunk_rows)[1]==[['01','NA'],['1','b']]
    fails(tmp_path, 'x,y\n1,a\n2,\n', "target 'y' is missing in row 1", target_col='y', chunk_rows=chunk_rows)
    fails(tmp_path, 'x,y\n1,?\n', "target 'y' is missing in row 0", target_col='y', na_values='?', chunk_rows=chunk_rows)

def test_text_is_no_data_as_well(tmp_path):
    "Text and numbers of one column: an error, for ids and labels 01 and 1 would become the same"
    text = 'x,y\n1,01\n2,1\n'
    fails(tmp_path, text, "'y' is text in a CSV file, and in data_cols.*y_dtype='float32'", target_col='y', data_cols=['x','y'])
    fails(tmp_path, text, "'y' is text", sample_col='y', data_cols=['x','y'])
    with pytest.raises(ValueError, match="'y' is text"): to((o for o in [file(tmp_path, text)]), tmp_path, 'no.npy', y_fn=tmp_path/'no_y.npy', target_col='y', data_cols='y')
    assert write(tmp_path, text, target_col='y', data_cols=['x','y'], y_dtype='float32')==([[[1,1]],[[2,1]]],[1,1])
    X,y = to(pd.DataFrame(dict(x=[1,2],y=[3,4])), tmp_path, y_fn=tmp_path/'y.npy', target_col='y', data_cols=['x','y'], overwrite=True) # has types
    assert X[:,0].tolist()==[[1,3],[2,4]] and y.tolist()==[3,4]

def test_targets_in_a_dtype_of_any_library(tmp_path):
    import torch
    def y_of(dtype): return to(file(tmp_path, 'x,y\n1,2\n2,10\n'), tmp_path, y_fn=tmp_path/'y.npy', target_col='y', y_dtype=dtype, overwrite=True)[1]
    assert y_of(torch.float32).dtype==np.float32 and y_of(torch.float32).tolist()==[2,10]
    for dtype in ('S5','S'): assert y_of(dtype).tolist()==[b'2',b'10']
    fails(tmp_path, 'x,y\n1,lang\n', 'does not fit', target_col='y', y_dtype='S3')
    assert write(tmp_path, 'x,y\n1,läuft\n', target_col='y', y_dtype='S')[1]==['läuft'.encode()]

def test_words_for_missing_numbers_are_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES
    from memmap_ts.writing.frames import _missing
    assert set(_missing)==STR_NA_VALUES

def test_numbers_that_are_asked_for(tmp_path):
    for text,dtype,want in (('x,y\n1,0.5\n2,1\n','float32',[.5,1]), ('x,y\n1,01\n2,7\n',int,[1,7]), ('x,y\n1,3\n2,4.0\n','int8',[3,4]), ('x,y\n1,\n2,4\n','f8',[np.nan,4]), ('x,y\n1,5\n2,07\n',str,['5','07'])):
        X,y = to(file(tmp_path, text), tmp_path, y_fn=tmp_path/'y.npy', target_col='y', y_dtype=dtype, overwrite=True)
        assert y.dtype==dtype or dtype is str
        np.testing.assert_array_equal(y, want)
    fails(tmp_path, 'x,y\n1,a\n', "column 'y' does not hold numbers", target_col='y', y_dtype=float)
    fails(tmp_path, 'x,y\n1,2.5\n', 'does not fit dtype int64', target_col='y', y_dtype=int)
    fails(tmp_path, 'x,y\n1,2.5\n', 'y_dtype is the type of the target', y_dtype=int)

def test_warns_of_numbers_as_text(tmp_path):
    with pytest.warns(RuntimeWarning, match=r"target y is read as text, though it looks like numbers \(0\.5\).*y_dtype='float32'") as said:
        write(tmp_path, 'x,y\n1,0.5\n2,1.25\n', target_col='y', chunk_rows=1)
    assert len(said)==1 and said[0].filename.endswith('writers.py') # where `to_memmap` is called
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for text in ('x,y\n1,0\n2,1\n', 'x,y\n1,0.5\n2,a\n'): write(tmp_path, text, target_col='y')

@pytest.mark.parametrize('chunk_rows', [None,1,2,3,5])
def test_ids_do_not_depend_on_the_parts(chunk_rows, tmp_path):
    "Numbers are in order as numbers, and before other text; ids are the same if they are written alike"
    ids = ['-1','9','10','4019','4020','V1','V3001']
    text = 'id,t,x\n'+''.join(f'{o},{t},{10*i+t}\n' for i,o in enumerate(ids) for t in (10,9))
    X = write(tmp_path, text, sample_col='id', steps_in_rows=True, sort_by='t', chunk_rows=chunk_rows)
    assert X==[[[10*i+9,10*i+10]] for i in range(7)]
    assert write(tmp_path, 'id,x\n12.1,1\n12.10,2\n', sample_col='id', chunk_rows=chunk_rows)==[[[1]],[[2]]]
    feats = 'id,f,x\n'+''.join(f'{i},{f},{f}\n' for i in (9,10) for f in (10,1,2))
    assert write(tmp_path, feats, sample_col='id', feat_col='f', chunk_rows=chunk_rows)==[[[1],[2],[10]]]*2
    assert write(tmp_path, '9,1\n9,2\n10,3\n10,4\n', header=None, sample_col=0, steps_in_rows=True, chunk_rows=chunk_rows)==[[[1,2]],[[3,4]]]
    fails(tmp_path, 'id,x\n10,1\n9,2\n', "not sorted by 'id'", sample_col='id', chunk_rows=chunk_rows)
    fails(tmp_path, 'id,x\n10,1\n,2\n', "'id' has missing values", sample_col='id', chunk_rows=chunk_rows)

def test_what_a_file_may_be_like(tmp_path):
    for kwargs in (dict(), dict(target_col='b')): fails(tmp_path, 'a,b\n', 'no rows', **kwargs)
    assert write(tmp_path, '\ufeffa,b\n\n1,2\n\n', data_cols='a')==[[[1]]]
    assert write(tmp_path, 'a,b\r1,2\r')==[[[1,2]]]
    assert write(tmp_path, 'a\n-999\n2\n', na_values=[-999,'x'])[1]==[[2]]
    fails(tmp_path, '', 'holds nothing'); fails(tmp_path, '\n\n', 'holds nothing')
    fails(tmp_path, '# by me\na,b\n1,2\n', "line 2: 2 fields, and 1 in the header")
    fails(tmp_path, 'a,b\n1,2\n', "no column 'c' in the table", data_cols=['c'])
    fails(tmp_path, 'a,a\n1,2\n', "several columns", target_col='a')
    (tmp_path/'t.csv').write_bytes('a,y\n1,läuft\n'.encode('latin-1'))
    with pytest.raises(ValueError, match="t.csv is not in utf-8.*encoding='latin-1'"): to(tmp_path/'t.csv', tmp_path, 'no.npy')
    assert to(tmp_path/'t.csv', tmp_path, y_fn=tmp_path/'y.npy', target_col='y', encoding='latin-1', overwrite=True)[1][0]=='läuft'

@pytest.mark.parametrize('kwargs', [dict(sep=r'\s+'), dict(sep=''), dict(decimal=','), dict(header='no'), dict(header=-1), dict(skiprows=-1), dict(encoding='latin-0'), dict(index_col=5), dict(index_col='q'), dict(index_col=True), dict(header=True), dict(header=False), dict(skiprows=True)])
def test_options_that_can_not_be(kwargs, tmp_path):
    fails(tmp_path, 'a,b\n1,2\n', next(iter(kwargs)), **kwargs)

def test_options_for_csv_only(tmp_path):
    for src in (pd.DataFrame(dict(a=[1.])), [pd.DataFrame(dict(a=[1.]))], tmp_path/'t.parquet', np.ones(3)):
        with pytest.raises(TypeError, match='sep: for'): to(src, tmp_path, sep=';')
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'seperator'.*sep,"): to(file(tmp_path, 'a\n1\n'), tmp_path, seperator=';')
    df,csv_file = pd.DataFrame(dict(a=[1.],b=[2.])),file(tmp_path, 'a;b\n3;4\n')
    assert to([df,csv_file], tmp_path, sep=';').tolist()==[[[1,2]],[[3,4]]]
    assert to((o for o in (csv_file,df)), tmp_path, sep=';', overwrite=True).tolist()==[[[3,4]],[[1,2]]]

def checked(path, block_chars):
    "The text that pandas gets, or None if there is an error"
    try:
        with CheckedCsv(path, CsvFormat(header=0), block_chars) as f: return ''.join(f)
    except ValueError: return None

@settings(max_examples=400, deadline=None)
@given(text=st.text('a1,"\n', max_size=24), block_chars=st.integers(1, 9))
def test_any_text(text, block_chars, tmp_path_factory):
    "Whatever is written: an error, or pandas gives the fields that the csv module sees, two in each row"
    text += '\n'
    path = file(tmp_path_factory.getbasetemp(), 'p,q\n'+text)
    got = checked(path, 2**18)
    assert got==checked(path, block_chars)
    rows = [o for o in csv.reader(io.StringIO('p,q\n'+text)) if o]
    if got is None: return
    rows = [o[:2] for o in rows if len(o)==2 or (len(o)==3 and not o[2])][1:]
    assert pd.read_csv(io.StringIO(got), dtype=object, keep_default_na=False, index_col=False).to_numpy().tolist()==rows

@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.text('aNA01,"\n é', min_size=1, max_size=4), min_size=1, max_size=8), chunk_rows=st.integers(1, 9), quoting=st.sampled_from([csv.QUOTE_MINIMAL,csv.QUOTE_ALL]))
def test_any_labels(labels, chunk_rows, quoting, tmp_path_factory):
    path = tmp_path_factory.getbasetemp()
    with open(path/'l.csv', 'w', newline='', encoding='utf-8') as f: csv.writer(f, quoting=quoting).writerows([['x','y'], *enumerate(labels)])
    X,y = to_memmap(path/'l.csv', path/'lX.npy', y_fn=path/'ly.npy', target_col='y', chunk_rows=chunk_rows, progress=False, overwrite=True)
    assert y.tolist()==labels and X.ravel().tolist()==list(range(len(labels)))

# Digits that no float has

LOST = 'of which a float keeps 9007199254740992.*leave it out, with data_cols'

@pytest.mark.parametrize('chunk_rows', [None,2,3])
@pytest.mark.parametrize('beside', ['','1.5','NA','1e300'])
def test_integers_that_no_float_has(beside, chunk_rows, tmp_path):
    "Beside a missing value, or a float, pandas makes another number of an id; a DataFrame is an error, too"
    lines = ['x,id', f'1,{beside}', '2,9007199254740993', '3,5']
    fails(tmp_path, '\n'.join(lines), rf"t.csv, about line 3: column 'id' has 9007199254740993, {LOST}", chunk_rows=chunk_rows)
    if beside=='1.5': fails(tmp_path, '\n'.join([*lines[:2], '7,8', '7,1e18', *lines[2:]]), 'about line 5', data_cols=['x','id'])
    for odd in ('-9007199254740993','9007199254740993,'): fails(tmp_path, '\n'.join([*lines[:2], f'2,{odd}', '3,5']), 'of which a float keeps', chunk_rows=chunk_rows)
    fails(tmp_path, '\n'.join(lines[1:]), 'about line 2: column 1', header=None)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert write(tmp_path, '\n'.join(lines), data_cols=['x'])==[[[1]],[[2]],[[3]]]

def test_large_numbers_that_floats_have(tmp_path):
    "The text is looked at, and nothing is wrong with it"
    text = 'a,b,c,d\n9007199254740992,1e300,18014398509481984,-inf\n,9007199254740993.5,1e18,9007199254740993.0\n'
    for chunk_rows in (None,1): assert write(tmp_path, text, chunk_rows=chunk_rows, data_cols=['b','c'], dtype='f8')==[[[1e300,2.**54]],[[9007199254740993.5,1e18]]]
    for chunk_rows in (None,1): assert write(tmp_path, text, chunk_rows=chunk_rows, data_cols=['d'])==[[[-np.inf]],[[9007199254740992]]]
    assert np.isnan(write(tmp_path, text, data_cols=['a'])[1]).all()

@pytest.mark.parametrize('n', [2,7,100])
def test_columns_with_large_numbers_one_after_the_other(n, tmp_path, monkeypatch):
    "The second reader goes to where the first one is, and takes up columns as they need it"
    monkeypatch.setattr(ExactCsv, 'piece_rows', 3)
    rows = [['']*4 for _ in range(40)]
    for c,at in enumerate((5,12,12,30)): rows[at][c] = '9007199254740992'
    def text(): return '\n'.join(['a,b,c,d', *(','.join(o if o[0] else ['0.5', *o[1:]]) for o in rows)])
    assert len(write(tmp_path, text(), chunk_rows=n))==40
    for at,c in ((39,3),(31,0),(12,2)):
        was,rows[at][c] = rows[at][c],'9007199254740993'
        fails(tmp_path, text(), f"about line {at+2}: column '{'abcd'[c]}' has 9007199254740993", chunk_rows=n)
        rows[at][c] = was

def test_large_numbers_however_they_are_written(tmp_path):
    fails(tmp_path, 'x;id\n1;9.007.199.254.740.993\n2;0,5\n', LOST, sep=';', decimal=',', thousands='.')
    fails(tmp_path, 'x,id,\n1,"9007199254740993",\n2,0.5,\n', LOST)
    fails(tmp_path, 'note\nx,id\n1,+9007199254740993\n2,\n', f'about line 3.*{LOST}', skiprows=1)
    fails(tmp_path, 'x,id\n1,18446744073709551617\n2,5\n', "'id' has 18446744073709551617")
    assert np.isnan(write(tmp_path, 'x,id\n1,9007199254740993\n2,\n', na_values=9007199254740993)[0][0][1])

@pytest.mark.parametrize('y_dtype', ['float64','float32'])
def test_targets_that_no_float_has(y_dtype, tmp_path):
    text = 'x,id\n1.5,9007199254740993\n2.5,\n'
    fails(tmp_path, text, LOST, target_col='id', y_dtype=y_dtype)
    fails(tmp_path, text.replace('2.5,','2.5,7'), 'does not fit', target_col='id', y_dtype=y_dtype)
    assert write(tmp_path, text.replace('93','92'), target_col='id', y_dtype='float64')[1][0]==2**53

def test_large_integers_alone(tmp_path):
    assert write(tmp_path, 'x,id\n1,9007199254740993\n2,9007199254740995\n')==[[[1,2**53+1]],[[2,2**53+3]]]

def test_ordinary_files_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ExactCsv, '_begin', None)
    assert write(tmp_path, 'x,y\n1,-1e15\n,inf\n2,NA\n', data_cols=['x'], dtype='f4')[0]==[[1]]

# What is no number

@pytest.mark.parametrize('kwargs', [{}, dict(data_cols=['x','y']), dict(target_col='y', y_dtype='float32'), dict(header=None)])
def test_the_line_of_a_value_that_is_no_number(kwargs, tmp_path):
    lines = ['1,2.5\n']*50_000+['1,oops\n']+['1,2.5\n']*10
    text,line = (''.join(lines),'50,001') if 'header' in kwargs else (''.join(['x,y\n', *lines]),'50,002')
    for chunk_rows in (None,999): fails(tmp_path, text, rf"t.csv, about line {line}: column .* does not hold numbers.*'oops'", chunk_rows=chunk_rows, **kwargs)
