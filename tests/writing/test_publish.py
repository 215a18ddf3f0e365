"The unfinished files of one writer"
import warnings, numpy as np, pytest
from memmap_ts.write import MemmapWriter
from writers import names

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
