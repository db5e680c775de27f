//! The costs between two shards on two threads: messages, and a TCP connection over the loopback interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::runtime::{self, AlignedBuf, Listener, Slice, Stream, mesh};
use crate::tools::tune::latency::Recorder;

/// Rounds before the measurement.
const WARM_UP: u32 = 100;
/// The spin of a node by default.
const SPIN_OF_A_NODE: Duration = Duration::from_micros(20);
/// The bytes of a round trip.
const TRIP_BYTES: usize = 64;

fn settings(shard: u16, core: Option<usize>, spin: Duration) -> runtime::Config {
    runtime::Config { shard, core, spin, ..runtime::Config::default() }
}

/// A round that the other shard returns, or the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ball {
    Round,
    End,
}

/// Half of the round trip of a message between two cores. With a spin of zero, both park for each message.
pub fn messages(cores: [usize; 2], spin: Duration, length: Duration) -> io::Result<Recorder> {
    let mut endpoints = mesh::<Ball>(2).into_iter();
    let (own, other) = (endpoints.next().expect("two"), endpoints.next().expect("two"));
    let returning = on_thread(settings(1, Some(cores[1]), spin), move || async move {
        while other.recv().await.1 == Ball::Round {
            other.send(0, Ball::Round);
        }
    });
    let measuring = on_thread(settings(0, Some(cores[0]), spin), move || async move {
        let (mut recorder, mut begun) = (Recorder::new(), Instant::now());
        for round in 0.. {
            if round == WARM_UP {
                begun = Instant::now();
            }
            if round > WARM_UP && begun.elapsed() >= length {
                break;
            }
            let at = Instant::now();
            own.send(1, Ball::Round);
            own.recv().await;
            if round >= WARM_UP {
                recorder.record_ns(at.elapsed().as_nanos() as u64 / 2);
            }
        }
        own.send(1, Ball::End);
        recorder
    });
    let recorder = join(measuring);
    join(returning)?;
    recorder
}

/// The round trip of a small message on a TCP connection, between two shards that spin as a node does.
pub fn round_trips(cores: &[usize], length: Duration) -> io::Result<Recorder> {
    let (of_server, of_client) = (cores.first().copied(), cores.get(1).copied());
    let (sender, addresses) = mpsc::channel();
    let server = on_thread(settings(1, of_server, SPIN_OF_A_NODE), move || async move {
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false)?;
        let _ = sender.send(listener.local_addr()?);
        let (stream, _) = listener.accept().await?;
        loop {
            let received = stream.recv().await?;
            if received.is_empty() {
                return io::Result::Ok(());
            }
            stream.send(block(received.len())?).await?;
        }
    });
    // A server that failed has dropped its sender, and returns the reason.
    let Ok(address) = addresses.recv() else {
        join(server)??;
        return Err(io::ErrorKind::NotConnected.into());
    };
    let client = on_thread(settings(0, of_client, SPIN_OF_A_NODE), move || async move {
        let stream = Stream::connect(address).await?;
        let (mut recorder, begun) = (Recorder::new(), Instant::now());
        while begun.elapsed() < length {
            let at = Instant::now();
            stream.send(block(TRIP_BYTES)?).await?;
            let mut received = 0;
            while received < TRIP_BYTES {
                let part = stream.recv().await?.len();
                if part == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                received += part;
            }
            recorder.record(at.elapsed());
        }
        io::Result::Ok(recorder)
    });
    let recorder = join(client)?;
    join(server)??;
    recorder
}

fn block(bytes: usize) -> io::Result<Slice> {
    let mut block = AlignedBuf::alloc(bytes)?;
    block[..bytes].fill(7);
    Ok(Slice::from(block).slice(0..bytes))
}

/// Runs a shard on a thread of its own, because a pinned thread keeps its core.
fn on_thread<F, T>(settings: runtime::Config, main: impl FnOnce() -> F + Send + 'static) -> JoinHandle<io::Result<T>>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    thread::spawn(move || runtime::run(settings, main))
}

fn join<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a measuring thread panicked"))?
}
