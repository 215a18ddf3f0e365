"""
Writes a pair of files again and again, and is interrupted each time, as Ctrl-C does it.

`python interrupted.py FOLDER everywhere FIRST STEP`: at every STEP-th place where CPython looks for signals
`python interrupted.py FOLDER sometime SEED N`: at N random moments
A last argument `ragged` writes samples of any length.
Prints what was found, and exits with 1 and the stacks if a run hangs.
"""
import faulthandler, gc, json, random, signal, sys, threading, time, warnings, numpy as np
from functools import partial
from pathlib import Path
from memmap_ts.ragged import RaggedWriter
from memmap_ts.store import open_memmap
from memmap_ts.write import MemmapWriter
from memmap_ts.writing.notices import at_work
from memmap_ts.writing.sync import BackgroundSync

assert not {'fastai','tsai'} & {*sys.modules}, 'who only writes files need not wait for these'

BackgroundSync.every_bytes = 400 # a flush every few chunks

def rows(first, n, new):
    "Rows of X, and labels that grow longer on the way"
    i = np.arange(first, first+n)
    return (i[:,None]+1000*new).repeat(5, 1).astype('i4'), ['y'*(1+k//20)+'ab'[new] for k in i]

class Runs:
    "Replaces X and y in `folder`, `n_rows` of them in chunks of 3"
    def __init__(self, folder, n_rows):
        self.folder,self.n_rows = Path(folder),n_rows
        self.fns = {f:self.folder/f'{f}.npy' for f in 'Xy'}

    def is_whole(self, new):
        "Are the files, as a reader gets them, those of before or after?"
        X,y = rows(0, self.n_rows, new)
        got = [open_memmap(f) for f in self.fns.values()]
        return np.array_equal(got[0], X) and got[1].tolist()==y

    def old(self):
        "Writes the files of before"
        for f,a in zip(self.fns.values(), rows(0, self.n_rows, 0)): np.save(f, a)

    def writer(self, **kwargs): return MemmapWriter(self.fns, overwrite=True, **kwargs)

    def append(self, w, first):
        "Three rows more, from number `first` on"
        X,y = rows(first, 3, 1)
        w.append(X=X, y=y)

    def write(self, resume, style, held, closing=lambda: None):
        "The new files; the writer is in `held`, as a notebook has it; `closing` is called before it is closed"
        def fill(w):
            for i in range(w.rows, self.n_rows, 3): self.append(w, i)
            closing()
        if style=='with':
            with self.writer(resume=resume) as w: fill(w)
        else:
            held.append(self.writer(resume=resume))
            fill(held[0])
            held[0].close()

    def run(self, resume, style, interrupted):
        "An interrupted run, and the one after it; yields what was found"
        self.old()
        n_threads,n_files = threading.active_count(),n_open()
        held = []
        error = interrupted(self, resume, style, held)
        if error is None: yield 'not interrupted'
        elif not isinstance(error, KeyboardInterrupt): yield f'FAULT: {error!r} instead of the interrupt'
        if self.is_whole(1)==self.is_whole(0): yield 'FAULT: a mixture'
        try:
            if style=='bare' and held: held[0].abort()
            if told_of_an_open_writer(self): yield 'told of an open writer'
            self.write(resume, 'with', [])
        except Exception as e: yield f'FAULT: {e!r} in the next run' # locked, by what the traceback holds
        del error
        held.clear()
        gc.collect()
        if not self.is_whole(1): self.write(resume, 'with', [])
        if not self.is_whole(1): yield 'FAULT: other rows'
        left = {p.name for p in self.folder.iterdir()}-{fn.name for fn in self.fns.values()}
        if left: yield f'FAULT: left {sorted(left)}'
        until = time.monotonic()+60
        while threading.active_count()>n_threads and time.monotonic()<until: time.sleep(.001)
        if threading.active_count()>n_threads: yield 'FAULT: a thread more'
        gc.collect() # what the last run has read from
        if n_open()>n_files: yield 'FAULT: a file more'
        for p in self.folder.iterdir(): p.unlink()

class RaggedRuns(Runs):
    "Replaces samples of any length"
    def __init__(self, folder, n_rows):
        super().__init__(folder, n_rows)
        self.fns = {f:self.folder/f'{f}.npy' for f in ('values','lengths')}

    def files(self, new):
        "What is in the two files"
        lengths = np.arange(self.n_rows)%4+1
        return np.repeat(np.arange(self.n_rows)+1000*new, lengths)[:,None].astype('i4').repeat(2, 1),lengths

    def is_whole(self, new):
        return all(np.array_equal(open_memmap(fn), a) for fn,a in zip(self.fns.values(), self.files(new)))

    def old(self):
        for fn,a in zip(self.fns.values(), self.files(0)): np.save(fn, a)

    def writer(self, **kwargs): return RaggedWriter(*self.fns.values(), overwrite=True, **kwargs)
    def append(self, w, first): w.append([np.full((2,i%4+1), 1000+i, 'i4') for i in range(first, first+3)])

def told_of_an_open_writer(runs):
    """
    Was the interrupt at the first instruction of `__enter__` or `__exit__`? Then nothing could end the writer.

    Who runs the cell again is told of it, and ends it with `abort`.
    """
    try: runs.writer(resume=True).abort()
    except BlockingIOError as e:
        assert 'another writer of this process' in str(e) and 'abort()' in str(e), e
        for w in list(at_work): w.abort()
        return True

def n_open():
    "How many files this process has open; a folder is opened by a number, which an interrupt may lose"
    fds = Path('/proc/self/fd')
    return sum(not o.is_dir() for o in fds.iterdir()) if fds.is_dir() else 0

def at_place(k, count=None):
    """
    An interrupted `write`: at the `k`-th place where CPython looks for signals; `count` gets how many there were.

    It looks when a function begins, and when one in C has returned: there a profiler is called as well.
    """
    def interrupted(runs, *args):
        left = [k]
        def profiler(frame, event, arg):
            if event not in ('call','c_return'): return
            left[0] -= 1
            if left[0]<0:
                sys.setprofile(None)
                raise KeyboardInterrupt
        try:
            sys.setprofile(profiler)
            try: runs.write(*args)
            finally: sys.setprofile(None)
        except BaseException as e: return e
        finally:
            if count is not None: count.append(k-left[0])
    return interrupted

def at_moment(seconds, closing):
    "An interrupted `write`: so many seconds after it begins, or begins to close the writer"
    def alarm(): signal.setitimer(signal.ITIMER_REAL, seconds)
    def interrupted(runs, *args):
        try:
            try:
                if not closing: alarm()
                runs.write(*args, alarm if closing else lambda: None)
            finally: signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException as e: return e
    return interrupted

def everywhere(runs, first, step):
    "(run, kind, how it is interrupted) at every `step`-th place"
    runs = runs(24)
    for resume in (False, True):
        for style in ('with','bare'):
            count = []
            for _ in range(2): list(runs.run(resume, style, at_place(10**9, count))) # the first one imports what it needs
            for k in range(first, count[1], step): yield runs,f'{style}, {resume=}, place {k} of {count[1]}',resume,style,at_place(k)

def sometime(runs, seed, n):
    "The same, at `n` random moments"
    runs,r,at = runs(60),random.Random(seed),[]
    runs.old()
    at.append(time.perf_counter())
    runs.write(False, 'with', [], lambda: at.append(time.perf_counter()))
    seconds = time.perf_counter()-at[0],time.perf_counter()-at[1]
    for i in range(n):
        closing,resume,style = r.random()<.5,r.random()<.5,r.choice(['with','bare'])
        how = at_moment(seconds[closing]*r.random()*1.2+1e-6, closing)
        yield runs,f'{style}, {resume=}, {closing=}, moment {i}',resume,style,how

def main(folder, what, first, n):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    warnings.simplefilter('ignore') # rows of the run before, which are not gone on with
    found = {'runs':0}
    kind_of_runs = partial(RaggedRuns if 'ragged' in sys.argv else Runs, folder)
    for runs,kind,*args in {'everywhere':everywhere, 'sometime':sometime}[what](kind_of_runs, int(first), int(n)):
        faulthandler.dump_traceback_later(120, exit=True)
        for fault in runs.run(*args):
            found[fault] = found.get(fault, 0)+1
            if fault.startswith('FAULT'): print(kind, fault, sep=': ', flush=True)
        found['runs'] += 1
        if '-v' in sys.argv: print(kind, flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(found))

if __name__=='__main__': main(*sys.argv[1:5])
