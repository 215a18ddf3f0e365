"The one thread-iterator: order, errors, ends"
import gc, itertools, os, threading, time, pytest
from memmap_ts.work.background import Background

def test_all_in_order():
    for depth in (1,2,7): assert list(Background(iter(range(50)), depth))==list(range(50))

def test_any_result(): assert list(Background(iter([None,StopIteration,ValueError('no error, a result')]), 1))[:2]==[None,StopIteration]

def test_not_further_ahead_than_asked():
    made = []
    ahead = Background((made.append(i) or i for i in range(100)), 3)
    assert next(ahead)==0
    time.sleep(.3)
    assert len(made)<=6 # one used, three ready, one in the thread's hands that finds no room
    ahead.close()

@pytest.mark.parametrize('error', [ZeroDivisionError,KeyboardInterrupt,SystemExit])
def test_an_error_comes_where_its_step_is_asked_for(error):
    def steps():
        yield 1
        raise error
    ahead = Background(steps(), 5)
    assert next(ahead)==1
    with pytest.raises(error): next(ahead)
    assert list(ahead)==[] and not ahead.thread.is_alive()

def test_an_error_at_the_beginning_of_the_thread():
    with pytest.raises(ZeroDivisionError): next(Background(iter([1]), 1, lambda: 1/0))

def test_begin_runs_in_the_thread():
    names = []
    list(Background(iter([1]), 1, lambda: names.append(threading.current_thread().name)))
    assert names==['memmap_ts']

@pytest.mark.parametrize('how', ['close','delete','error','end'])
def test_the_steps_are_closed(how):
    closed = []
    def steps():
        try:
            for i in range(10**6 if how!='end' else 3):
                yield i
                if how=='error' and i: raise ZeroDivisionError
        finally: closed.append(threading.current_thread().name)
    ahead = Background(steps(), 2)
    next(ahead)
    if how=='close': ahead.close()
    if how=='end': list(ahead)
    if how=='error':
        with pytest.raises(ZeroDivisionError): list(ahead)
    thread = ahead.thread
    del ahead
    gc.collect()
    thread.join(60)
    assert closed==['memmap_ts']

def test_close_twice_and_from_the_thread_itself():
    ahead = Background(itertools.count(), 1)
    ahead.close(); ahead.close()
    assert list(ahead)==[]
    box = []
    def steps():
        yield 1
        while not box: time.sleep(.01)
        box[0].close() # a result that is deleted in the thread may close it there
        yield 2
    ahead = Background(steps(), 1)
    next(ahead)
    box.append(ahead)
    ahead.thread.join(60)
    assert not ahead.thread.is_alive()

def numbers_and_their_threads(n):
    for i in range(n): yield i,threading.current_thread().name

@pytest.mark.parametrize('taken', [0,1,5])
def test_the_thread_leaves_the_rest(taken):
    ahead = Background(numbers_and_their_threads(50), 3)
    some = [next(ahead) for _ in range(taken)]
    ahead.leave_thread(); ahead.leave_thread()
    numbers,names = zip(*some, *ahead)
    here = names.index('MainThread')
    assert numbers==tuple(range(50)) and not ahead.thread.is_alive()
    assert taken<here<=taken+5 and set(names[:here])=={'memmap_ts'} and set(names[here:])=={'MainThread'}

@pytest.mark.parametrize('n', [0,1,2])
def test_it_leaves_nothing(n):
    ahead = Background(iter(range(n)), 5)
    ahead.thread.join(5)
    ahead.leave_thread()
    assert list(ahead)==list(range(n)) and list(ahead)==[]

@pytest.mark.parametrize('how', ['close at once','close later','delete','error'])
def test_what_a_thread_has_left_is_closed(how):
    closed = []
    def steps():
        try:
            for i in range(100):
                yield i
                if how=='error' and i==20: raise ZeroDivisionError
        finally: closed.append(threading.current_thread().name)
    ahead = Background(steps(), 2)
    next(ahead)
    ahead.leave_thread()
    if how!='close at once':
        for _ in range(10): next(ahead)
    if how.startswith('close'): ahead.close()
    if how=='error':
        with pytest.raises(ZeroDivisionError): list(ahead)
    assert how=='delete' or list(ahead)==[]
    del ahead
    gc.collect()
    assert len(closed)==1

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no fork')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_forked_process_is_told():
    ahead = Background(itertools.count(), 2)
    next(ahead)
    if not (pid := os.fork()):
        try: next(ahead)
        except RuntimeError as e: os._exit(0 if 'fork' in str(e) else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1]==0
    ahead.close()
