"Renames that belong together, and the notes about them"
import json, warnings, numpy as np, pytest
from memmap_ts.write import MemmapWriter
from memmap_ts.writing.part import UnfinishedFile
from memmap_ts.writing.publish import finish_renames, publish
from writers import names

def finished(fn):
    p = UnfinishedFile(fn)
    p.begin((), 'i4')
    p.write(np.arange(3), 0)
    p.write_header(3)
    return p

@pytest.fixture
def published(tmp_path):
    publish([finished(tmp_path/'X.npy'), finished(tmp_path/'y.npy')])
    assert names(tmp_path)==['X.npy','y.npy']
    return tmp_path

def test_note_that_was_not_completed(published):
    (published/'X.npy.publish').write_text('[["X.np')
    finish_renames([published/'X.npy'])
    assert names(published)==['X.npy','y.npy']

def test_note_about_a_file_that_is_being_written(published):
    "Who holds the file decides; when it is let go, and is another one than was decided on, it stays"
    p = finished(published/'y.npy')
    note = published/'X.npy.publish'
    note.write_text(json.dumps([[p.path,p.fn,1,1]]))
    finish_renames([published/'Z.npy']) # another file
    with pytest.raises(BlockingIOError): finish_renames([published/'y.npy'])
    assert note.exists()
    p.close(keep=True)
    finish_renames([published/'y.npy'])
    assert names(published)==['X.npy','y.npy','y.npy.part']

def test_other_files_that_look_like_notes(published):
    note = published/'o.publish'
    for text in ('{"a":1}', '[1,2]', '[[1,2,3,4]]', '7', '[["a","b",null,1]]'):
        note.write_text(text)
        finish_renames([published/'X.npy'])
    note.unlink()
    note.mkdir()
    finish_renames([published/'X.npy'])
    assert names(published)==['X.npy','o.publish','y.npy']

def test_warning_names_the_line_of_the_writer(tmp_path):
    with pytest.raises(KeyboardInterrupt), MemmapWriter(tmp_path/'a.npy', resume=True) as w:
        w.append([1])
        raise KeyboardInterrupt
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        MemmapWriter(tmp_path/'a.npy').abort()
    assert said[0].filename==__file__ and names(tmp_path)==['a.npy.part']

def test_last_rows(tmp_path):
    with MemmapWriter({'X':tmp_path/'X.npy', 'y':tmp_path/'y.npy'}) as w:
        for i in range(3): w.append(X=np.full((2,4), i), y=['a'*(i+1)]*2)
        assert w.last_rows('X', 3)[:,0].tolist()==[1,2,2] and w.last_rows('y', 2).tolist()==['aaa','aaa'] and w.last_rows('X', 0).shape==(0,4)
