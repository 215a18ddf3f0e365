"The helper that other tests of several processes stand on: their errors are seen, and no process is left"
import os, signal, time, pytest
from ranks import Failed, on_ranks

def _sum_of_ranks():
    import torch
    from torch import distributed
    distributed.init_process_group('gloo')
    t = torch.tensor(distributed.get_rank())
    distributed.all_reduce(t)
    return int(t),os.getpid()

def _go_wrong(how):
    from torch import distributed
    distributed.init_process_group('gloo')
    if distributed.get_rank()==1:
        if how=='error': raise ValueError('it is broken')
        if how=='kill': os.kill(os.getpid(), signal.SIGKILL)
        if how=='unpicklable': return lambda: 1
        if how=='hang': time.sleep(1000)
    return os.getpid()

def _is_there(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    return True

def test_results():
    res = on_ranks(3, _sum_of_ranks)
    assert [total for total,_ in res]==[3,3,3]
    assert not any(_is_there(pid) for _,pid in res)

@pytest.mark.parametrize('how,message', [
    ('error', 'ValueError: it is broken'), ('kill', 'ended with status -9'), ('unpicklable', 'pickle'),
    ('hang', 'no answer in 6 s')])
def test_errors(how, message):
    began = time.monotonic()
    with pytest.raises(Failed) as e: on_ranks(2, _go_wrong, how, timeout=6 if how=='hang' else 60)
    assert e.value.errors[0] is None and message in e.value.errors[1]
    assert str(e.value).startswith('rank 1: ')
    assert time.monotonic()-began<50 # with the start of the server, if this is the first test to need it
