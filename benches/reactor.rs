//! Measures design decision D1: the same two loops on Tidemill's runtime and on glommio 0.9.
//!
//! Echo: one pinned server thread and one pinned client thread, which is Tidemill's runtime in both cases. Requests are
//! small, and each connection has one in flight. Durable append: one thread with several writers. Each writes a page to
//! its own region and waits for stable storage before the next write. Runs alternate. The bench prints medians and
//! ratios, and asserts nothing.
//!
//! `cargo bench --bench reactor -- [seconds per run] [runs] [part of a loop's name]`

mod statistics;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use comfy_table::Table;
use tidemill::runtime::{self, AlignedBuf, Class, Durability, File, Listener, Open, Slice, Stream, clock, cpu};

const CONNECTIONS: usize = 64;
const REQUEST_BYTES: usize = 128;
const WRITERS: usize = 16;
const PAGE: usize = 4096;
const REGION_PAGES: u64 = 64;

/// The result of one run.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    per_second: f64,
    cpu_us: f64,
    /// `io_uring_enter` calls per operation. `None` for glommio, which does not count them.
    enters: Option<f64>,
}

impl Outcome {
    fn new(count: u64, wall: Duration, cpu: Duration, enters: Option<u64>) -> Outcome {
        Outcome {
            per_second: count as f64 / wall.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / count as f64,
            enters: enters.map(|enters| enters as f64 / count as f64),
        }
    }
}

fn main() {
    // `cargo bench` passes `--bench`.
    let args: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let mut numbers = args.iter().filter_map(|a| a.parse::<f64>().ok());
    let filter = args.iter().find(|a| a.parse::<f64>().is_err());
    let seconds = Duration::from_secs_f64(numbers.next().unwrap_or(2.0));
    let runs = numbers.next().unwrap_or(5.0) as usize;
    let cores = cpu::cores();
    assert!(cores.len() >= 2, "the server and the client need a core each");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-reactor");
    std::fs::create_dir_all(&dir).expect("the build directory is writable");

    let mut table = Table::new();
    table.set_header(["loop", "reactor", "per second", "CPU us each", "enters each", "rate", "CPU"]);
    for (name, ours, theirs) in [
        (
            format!("echo, {CONNECTIONS} connections x {REQUEST_BYTES} B"),
            Box::new(|| echo(seconds, cores[0], cores[1], tidemill_echo)) as Box<dyn Fn() -> Outcome>,
            Box::new(|| echo(seconds, cores[0], cores[1], glommio_echo)) as Box<dyn Fn() -> Outcome>,
        ),
        (
            "echo, 1 connection".to_owned(),
            Box::new(|| echo_of(1, seconds, cores[0], cores[1], tidemill_echo)),
            Box::new(|| echo_of(1, seconds, cores[0], cores[1], glommio_echo)),
        ),
        (
            format!("durable append, {WRITERS} writers x {PAGE} B"),
            Box::new(|| tidemill_append(&dir, WRITERS, seconds, cores[0])),
            Box::new(|| glommio_append(&dir, WRITERS, seconds, cores[0])),
        ),
        (
            "durable append, 1 writer".to_owned(),
            Box::new(|| tidemill_append(&dir, 1, seconds, cores[0])),
            Box::new(|| glommio_append(&dir, 1, seconds, cores[0])),
        ),
    ] {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for run in 0..runs {
            eprintln!("{name}: {} of {runs}", run + 1);
            a.push(ours());
            b.push(theirs());
        }
        let (a, b) = (medians(&a), medians(&b));
        for (reactor, outcome) in [("tidemill", a), ("glommio", b)] {
            table.add_row([
                name.clone(),
                reactor.to_owned(),
                format!("{:.0}", outcome.per_second),
                format!("{:.2}", outcome.cpu_us),
                outcome.enters.map_or("-".to_owned(), |n| format!("{n:.3}")),
                format!("{:.2}x", outcome.per_second / b.per_second),
                format!("{:.2}x", outcome.cpu_us / b.cpu_us),
            ]);
        }
    }
    std::fs::remove_dir_all(&dir).expect("the build directory is writable");
    println!("{table}\nrate and CPU: relative to glommio; medians of {runs} runs of {seconds:?}, alternating");
}

fn medians(outcomes: &[Outcome]) -> Outcome {
    let median = |f: &dyn Fn(&Outcome) -> f64| statistics::median(outcomes.iter().map(f).collect());
    Outcome {
        per_second: median(&|o| o.per_second),
        cpu_us: median(&|o| o.cpu_us),
        enters: outcomes[0].enters.map(|_| median(&|o| o.enters.unwrap_or_default())),
    }
}

/// Runs on its own thread. Sends its address to `ready`, and serves `connections` connections until they close. Returns
/// its CPU time and `io_uring_enter` calls from the moment at which all are connected.
type EchoServer = fn(core: usize, connections: usize, ready: mpsc::Sender<SocketAddr>) -> (Duration, Option<u64>);

fn echo(seconds: Duration, server_core: usize, client_core: usize, server: EchoServer) -> Outcome {
    echo_of(CONNECTIONS, seconds, server_core, client_core, server)
}

fn echo_of(
    connections: usize,
    seconds: Duration,
    server_core: usize,
    client_core: usize,
    server: EchoServer,
) -> Outcome {
    let (ready, address) = mpsc::channel();
    let server = std::thread::spawn(move || server(server_core, connections, ready));
    let address = address.recv().expect("the server listens");
    let client = move || {
        let config = runtime::Config { core: Some(client_core), ..Default::default() };
        runtime::run(config, || async move {
            let request = Slice::from(vec![7; REQUEST_BYTES]);
            let mut streams = Vec::new();
            for _ in 0..connections {
                streams.push(Stream::connect(address).await.expect("the server accepts"));
            }
            let begun = clock::now();
            let tasks: Vec<_> = streams
                .into_iter()
                .map(|stream| {
                    let request = request.clone();
                    runtime::spawn(Class::Foreground, "client", async move {
                        let mut answers = 0_u64;
                        while begun.elapsed() < seconds {
                            stream.send(request.clone()).await.expect("sent");
                            let mut got = 0;
                            while got < REQUEST_BYTES {
                                got += stream.recv().await.expect("received").len();
                            }
                            answers += 1;
                        }
                        answers
                    })
                })
                .collect();
            let mut answers = 0;
            for task in tasks {
                answers += task.await;
            }
            (answers, begun.elapsed())
        })
        .expect("a ring")
    };
    let (answers, wall) = std::thread::spawn(client).join().expect("the client finishes");
    let (cpu, enters) = server.join().expect("the server finishes");
    Outcome::new(answers, wall, cpu, enters)
}

fn tidemill_echo(core: usize, connections: usize, ready: mpsc::Sender<SocketAddr>) -> (Duration, Option<u64>) {
    let config = runtime::Config { core: Some(core), ..Default::default() };
    runtime::run(config, || async move {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), false).expect("a port");
        ready.send(listener.local_addr().unwrap()).unwrap();
        let mut streams = Vec::new();
        for _ in 0..connections {
            streams.push(listener.accept().await.expect("a connection").0);
        }
        let before = (cpu::thread_cpu_time(), runtime::stats().enters);
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                runtime::spawn(Class::Foreground, "echo", async move {
                    loop {
                        let received = stream.recv().await.expect("received");
                        if received.is_empty() {
                            return;
                        }
                        let answer = received.to_vec();
                        drop(received);
                        stream.send(answer).await.expect("sent");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        (cpu::thread_cpu_time() - before.0, Some(runtime::stats().enters - before.1))
    })
    .expect("a ring")
}

fn glommio_echo(core: usize, connections: usize, ready: mpsc::Sender<SocketAddr>) -> (Duration, Option<u64>) {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    glommio_run(core, move || async move {
        let listener = glommio::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        ready.send(listener.local_addr().unwrap()).unwrap();
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            streams.push(stream);
        }
        let before = cpu::thread_cpu_time();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                glommio::spawn_local(async move {
                    let mut buf = vec![0; 16 << 10];
                    loop {
                        let n = stream.read(&mut buf).await.expect("received");
                        if n == 0 {
                            return;
                        }
                        stream.write_all(&buf[..n]).await.expect("sent");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        (cpu::thread_cpu_time() - before, None)
    })
}

/// Writes a file with a region for each writer. All its blocks are allocated, as in the journal's files.
fn preallocate(dir: &Path, name: &str, writers: usize) -> PathBuf {
    let path = dir.join(name);
    let bytes = vec![1; writers * REGION_PAGES as usize * PAGE];
    std::fs::write(&path, bytes).expect("the file can be written");
    std::fs::File::open(&path).and_then(|f| f.sync_all()).expect("the file can be flushed");
    path
}

fn tidemill_append(dir: &Path, writers: usize, seconds: Duration, core: usize) -> Outcome {
    let path = preallocate(dir, "ours", writers);
    let work = move || {
        let config = runtime::Config { core: Some(core), ..Default::default() };
        runtime::run(config, || async move {
            let open = Open { read: true, write: true, direct: true, ..Default::default() };
            let file = File::open(&path, open).await.expect("the file opens");
            assert!(file.is_direct(), "the build directory supports O_DIRECT");
            let before = (cpu::thread_cpu_time(), runtime::stats().enters);
            let begun = clock::now();
            let tasks: Vec<_> = (0..writers as u64)
                .map(|writer| {
                    let file = file.clone();
                    runtime::spawn(Class::Foreground, "writer", async move {
                        let page = AlignedBuf::alloc(PAGE).expect("a page").freeze();
                        let mut count = 0;
                        while begun.elapsed() < seconds {
                            let pos = (writer * REGION_PAGES + count % REGION_PAGES) * PAGE as u64;
                            file.write_at(page.slice(0..PAGE), pos, Durability::DataSync).await.expect("written");
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            let mut count = 0;
            for task in tasks {
                count += task.await;
            }
            let enters = runtime::stats().enters - before.1;
            Outcome::new(count, begun.elapsed(), cpu::thread_cpu_time() - before.0, Some(enters))
        })
        .expect("a ring")
    };
    std::thread::spawn(work).join().expect("the writers finish")
}

fn glommio_append(dir: &Path, writers: usize, seconds: Duration, core: usize) -> Outcome {
    let path = preallocate(dir, "theirs", writers);
    glommio_run(core, move || async move {
        let file =
            glommio::io::OpenOptions::new().read(true).write(true).dma_open(&path).await.expect("the file opens");
        let file = Rc::new(file);
        let before = cpu::thread_cpu_time();
        let begun = clock::now();
        let tasks: Vec<_> = (0..writers as u64)
            .map(|writer| {
                let file = file.clone();
                glommio::spawn_local(async move {
                    let mut count = 0;
                    while begun.elapsed() < seconds {
                        let pos = (writer * REGION_PAGES + count % REGION_PAGES) * PAGE as u64;
                        let mut page = file.alloc_dma_buffer(PAGE);
                        page.as_bytes_mut().fill(1);
                        file.write_at(page, pos).await.expect("written");
                        file.fdatasync().await.expect("flushed");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut count = 0;
        for task in tasks {
            count += task.await;
        }
        let outcome = Outcome::new(count, begun.elapsed(), cpu::thread_cpu_time() - before, None);
        Rc::try_unwrap(file).unwrap_or_else(|_| panic!("the writers are done")).close().await.expect("closed");
        outcome
    })
}

/// Runs glommio as its documentation does, with the spin time of Tidemill's runtime.
fn glommio_run<T: Send + 'static, F: Future<Output = T> + 'static>(
    core: usize,
    main: impl FnOnce() -> F + Send + 'static,
) -> T {
    glommio::LocalExecutorBuilder::new(glommio::Placement::Fixed(core))
        .spin_before_park(runtime::Config::default().spin)
        .spawn(main)
        .expect("an executor")
        .join()
        .expect("it finishes")
}
