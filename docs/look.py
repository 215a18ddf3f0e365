"Look at the built site as a reader does, in headless Chromium: `python docs/look.py docs/_build/html`"
import base64, json, os, shutil, subprocess, sys, tempfile, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

WIDTHS = 1400, 390
# What readers look for, and a page that should be found
SEARCHES = {'nan':'missing_values', 'imbalance':'imbalance', 'forecast':'long_series', 'multi gpu':'several_gpus',
            'predict new data':'new_data', 'out of memory':'larger_than_ram'}
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
         '--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage']

class Browser:
    "One page of Chromium, told what to do through two pipes: no package is needed for that"
    def __init__(self, program):
        self.folder = tempfile.mkdtemp()
        to_browser,self.to = os.pipe()
        self.back,from_browser = os.pipe()
        command = [program, *FLAGS, '--remote-debugging-pipe', f'--user-data-dir={self.folder}', 'about:blank']
        pipes = f'exec "$@" 3<&{to_browser} 4>&{from_browser}' # where Chromium looks for them
        self.process = subprocess.Popen(['bash', '-c', pipes, 'bash', *command], pass_fds=(to_browser,from_browser),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.n,self.rest,self.session,self.events = 0,b'',None,[]
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page','Runtime','Log','Network'): self.call(f'{domain}.enable')

    def call(self, method, **params):
        self.n += 1
        message = dict(id=self.n, method=method, params=params, **({'sessionId':self.session} if self.session else {}))
        os.write(self.to, json.dumps(message).encode()+b'\0')
        while True:
            answer = self.read()
            if answer.get('id')!=self.n: self.events.append(answer)
            elif 'error' in answer: raise RuntimeError(f"{method}: {answer['error']['message']}")
            else: return answer['result']

    def read(self):
        while b'\0' not in self.rest:
            more = os.read(self.back, 1<<20)
            if not more: raise RuntimeError('Chromium has ended')
            self.rest += more
        message,_,self.rest = self.rest.partition(b'\0')
        return json.loads(message)

    def wait(self, name):
        while not any(o.get('method')==name for o in self.events): self.events.append(self.read())

    def open(self, url):
        "Show `url`; what its console says are `errors`"
        self.events.clear()
        self.call('Page.navigate', url=url)
        self.wait('Page.loadEventFired')

    def set_width(self, width):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False)

    def errors(self):
        self.value('1') # what was said before has arrived
        for o in self.events:
            method,said = o.get('method'),o.get('params',{})
            if method=='Runtime.exceptionThrown': yield str(said['exceptionDetails'])[:300]
            if method=='Runtime.consoleAPICalled' and said['type'] in ('error','assert'): yield str(said['args'])[:300]
            if method=='Log.entryAdded' and said['entry']['level']=='error':
                yield f"{said['entry']['text']} {said['entry'].get('url', '')}"

    def value(self, expression):
        res = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in res: raise RuntimeError(f'{expression}: {res["exceptionDetails"]["text"]}')
        return res['result'].get('value')

    def picture(self, path, whole=False):
        "A screenshot"
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        clip = dict(x=0, y=0, width=size['width'], height=min(size['height'], 6000), scale=1)
        res = self.call('Page.captureScreenshot', captureBeyondViewport=whole, **({'clip':clip} if whole else {}))
        Path(path).write_bytes(base64.b64decode(res['data']))

    def close(self):
        self.process.terminate()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.folder, ignore_errors=True)

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

def serve(site):
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}/'

FACTS = '''({
    title: document.title,
    description: document.querySelector('meta[name=description]')?.content || '',
    room: document.documentElement.clientWidth,
    needs: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll('article *')]
        .filter(o => !o.closest('.table-wrapper, pre, .cell_output'))
        .filter(o => o.getBoundingClientRect().right>document.documentElement.clientWidth+1)
        .slice(0, 3).map(o => o.tagName+' '+o.textContent.slice(0, 40)),
})'''

def faults(browser, base, page):
    "What is wrong with a page, at each width"
    browser.open(base+page)
    for width in WIDTHS:
        browser.set_width(width)
        facts = browser.value(FACTS)
        if facts['needs']>facts['room']: yield f"is {facts['needs']} pixels wide on {width}: {facts['wide']}"
    if not facts['title'].strip(): yield 'has no title'
    if len(facts['description'])<15: yield 'has no description'
    yield from (f'says on the console: {o}' for o in browser.errors())

def unreachable(browser, base):
    "Guides of the sidebar that the text of the first page has no link to"
    browser.open(base+'index.html')
    return browser.value('''(() => {
        const links = (o, what) => [...o.querySelectorAll(what)].map(o => o.getAttribute('href'));
        const captions = [...document.querySelectorAll('.sidebar-tree .caption')];
        const guides = links(captions.find(o => o.textContent.trim()=='Guides').nextElementSibling, 'a');
        const there = new Set(links(document, 'article a'));
        return guides.length ? guides.filter(o => !there.has(o)) : ['no guides at all'];
    })()''')

def found(browser, base, query):
    "Pages that the site's search finds, best first"
    browser.open(f'{base}search.html?q={quote(query)}')
    return browser.value('''new Promise(done => {
        const look = left => {
            const links = [...document.querySelectorAll('#search-results li a')].map(o => o.getAttribute('href'));
            const said = document.querySelector('#search-results .search-summary')?.textContent || '';
            const ended = !left || (said.includes('finished') && links.length);
            if (ended) done([...new Set(links.map(o => o.split('.html')[0]))]); else setTimeout(look, 50, left-1);
        };
        look(100);
    })''')

def look(site):
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not program: sys.exit('there is no Chromium here: apt-get install chromium')
    pages = sorted(o.name for o in Path(site).glob('*.html'))
    if not pages: sys.exit(f'no pages in {site}')
    base,browser = serve(site),Browser(program)
    try:
        bad = [f'{page} {fault}' for page in pages for fault in faults(browser, base, page)]
        bad += [f'index.html has no link to the guide {o}' for o in unreachable(browser, base)]
        for query,page in SEARCHES.items():
            results = found(browser, base, query)
            if page not in results[:5]: bad.append(f'{query!r} does not find {page}, but first of all {results[:5]}')
    finally: browser.close()
    print('\n'.join(bad) or f'{len(pages)} pages look right at {WIDTHS} pixels')
    sys.exit(bool(bad))

if __name__=='__main__': look(sys.argv[1])
