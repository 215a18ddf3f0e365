"Processes of one launch, forked from the test, which are told when to go on"
import multiprocessing, os, signal, warnings
from memmap_ts.disk import launch

ctx = multiprocessing.get_context('fork') if os.name=='posix' else None

class Rank:
    "A process that runs `f(self, *args)`; both ends of the pipe have `tell` and `hear`"
    def __init__(self, rank, f, *args, world_size=4, **kwargs):
        self.rank,self.world_size = rank,world_size
        self.pipe,there = ctx.Pipe()
        self.process = ctx.Process(target=self.run, args=(there,f,args,kwargs), daemon=True)
        self.process.start()
        there.close()

    def run(self, pipe, f, args, kwargs):
        self.pipe.close()
        self.pipe = pipe
        os.environ.update(RANK=str(self.rank), WORLD_SIZE=str(self.world_size), MASTER_PORT='29500')
        paused = launch.Patience.__call__
        def told(patience): self.tell('waits'); paused(patience)
        launch.Patience.__call__ = told
        try:
            with warnings.catch_warnings(record=True) as self.warned:
                warnings.simplefilter('always')
                res = f(self, *args, **kwargs)
        except BaseException as e: res = e
        self.tell('done', res)
        self.hear('end') # it lives on until it is told to end, as in training

    def tell(self, *what): self.pipe.send(what)

    def hear(self, what, seconds=60):
        "What comes with the next `what`; all else is skipped"
        while self.pipe.poll(seconds):
            try: said,*rest = self.pipe.recv()
            except EOFError: return
            if said==what: return rest[0] if rest else True
            assert said=='waits' or what!='waits', f'rank {self.rank} said {said} {rest}, not that it {what}'
        raise TimeoutError(f'rank {self.rank} never said {what}')

    def result(self):
        "What `f` returned, or raised"
        res = self.hear('done')
        if isinstance(res, BaseException): raise res
        return res

    def end(self):
        "Let the process end, as it does at the end of a script"
        if self.process.is_alive(): self.tell('end')
        self.process.join(60)

    def kill(self):
        if not self.process.is_alive(): return
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(60)

def chunks(me, values):
    "One chunk for each value; between the first and the second it says so, and goes on when it is told to"
    for i,value in enumerate(values):
        if i==1: me.tell('half'); me.hear('go')
        yield value
