//! Tests of the runtime's public interface: files, sockets and mailboxes on the real ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

mod failures;

/// A directory of one test, on the disk of the build directory (not a tmpfs), removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let path = target.join(format!("scratch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn on_a_shard<T, F: Future<Output = T>>(main: impl FnOnce() -> F) -> T {
    run(Config { recv_buffers: 16, ..Config::default() }, main).unwrap()
}

const READ_WRITE: Open =
    Open { read: true, write: true, create: true, create_new: false, truncate: false, direct: false, append: false };

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn pair() -> (Stream, Stream) {
    let listener = Listener::bind(any_port(), false).unwrap();
    let client = Stream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

async fn recv_exactly(stream: &Stream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let received = stream.recv().await.unwrap();
        assert!(!received.is_empty(), "end of stream after {} of {len} bytes", bytes.len());
        bytes.extend_from_slice(&received);
    }
    bytes
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn written_bytes_are_read_back_direct_and_buffered() {
    let scratch = Scratch::new("read-back");
    on_a_shard(|| async {
        for direct in [false, true] {
            let path = scratch.path(&format!("file-{direct}"));
            let file = File::open(&path, Open { direct, ..READ_WRITE }).await.unwrap();
            let buf = AppendBuf::alloc(64 << 10).unwrap();
            buf.append(&pattern(50_000));
            file.write_at(buf.aligned(0..53_248), 0, Durability::DataSync).await.unwrap();
            let parts = [buf.aligned(0..4096), buf.aligned(4096..8192), buf.aligned(8192..12288)];
            file.write_at(parts, 53_248, Durability::Cached).await.unwrap();
            file.sync_data().await.unwrap();
            assert_eq!(file.len().await.unwrap(), 53_248 + 12_288);

            let block = AlignedBuf::alloc(128 << 10).unwrap();
            let (n, block) = file.read_at(block, 4096, 100 << 10, 0).await;
            assert_eq!(n.unwrap(), 65_536);
            assert_eq!(&block[4096..4096 + 50_000], &pattern(50_000));
            assert_eq!(&block[4096 + 53_248..][..12_288], &pattern(12_288));
            assert_eq!(file.read_vec(1000, 49_500).await.unwrap()[..500], pattern(50_000)[49_500..]);
            assert_eq!(file.read_vec(100, 65_500).await.unwrap().len(), 36, "short at the end of the file");
            assert!(file.read_vec(100, 1 << 30).await.unwrap().is_empty());

            file.set_len(10_000).await.unwrap();
            assert_eq!(file.len().await.unwrap(), 10_000);
            assert_eq!(file.read_vec(9000, 5000).await.unwrap(), &pattern(10_000)[5000..]);
            file.allocate(0, 1 << 20).await.unwrap();
            assert_eq!(file.len().await.unwrap(), 1 << 20);
            file.sync_all().await.unwrap();
        }
    });
}

#[test]
fn a_write_of_many_buffers_keeps_their_order() {
    let scratch = Scratch::new("many");
    on_a_shard(|| async {
        let file = File::open(scratch.path("f"), READ_WRITE).await.unwrap();
        let bytes = pattern(5000 * 7);
        let slices: Vec<Slice> = bytes.chunks(7).map(|c| Slice::from(c.to_vec())).collect();
        file.write_at(slices, 3, Durability::Cached).await.unwrap();
        assert_eq!(file.read_vec(40_000, 3).await.unwrap(), bytes);
    });
}

#[test]
fn file_errors_are_system_errors() {
    let scratch = Scratch::new("errors");
    on_a_shard(|| async {
        let missing = File::open(scratch.path("missing"), Open { create: false, ..READ_WRITE }).await;
        assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
        drop(File::open(scratch.path("f"), READ_WRITE).await.unwrap());
        let again = File::open(scratch.path("f"), Open { create_new: true, ..READ_WRITE }).await;
        assert_eq!(again.err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        let reader = File::open(scratch.path("f"), Open { read: true, ..Open::default() }).await.unwrap();
        let refused = reader.write_at(Slice::from(b"x"), 0, Durability::Cached).await;
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EBADF));
        let nul = File::open("a\0b", READ_WRITE).await;
        assert_eq!(nul.err().unwrap().kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn directories_are_created_listed_locked_and_removed() {
    let scratch = Scratch::new("dirs");
    on_a_shard(|| async {
        let deep = scratch.path("a/b/c");
        dir::create_all(&deep).await.unwrap();
        dir::create_all(&deep).await.unwrap();
        for name in ["x", "y"] {
            drop(File::open(deep.join(name), READ_WRITE).await.unwrap());
        }
        dir::rename(deep.join("x"), deep.join("z")).await.unwrap();
        dir::sync(&deep).await.unwrap();
        let mut names = dir::list(&deep).unwrap();
        names.sort();
        assert_eq!(names, ["y", "z"]);
        dir::remove_file(deep.join("y")).await.unwrap();
        assert!(!dir::exists(deep.join("y")));

        let lock = dir::lock(&deep).unwrap();
        assert_eq!(dir::lock(&deep).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        dir::lock(&deep).unwrap();

        dir::remove_all(scratch.path("a")).await.unwrap();
        assert!(!dir::exists(scratch.path("a")));
    });
}

// FILE-1
#[test]
fn planned_faults_hit_the_planned_operations() {
    use fault::{Fault, FaultPlan, Rule, Target};
    let scratch = Scratch::new("faults");
    on_a_shard(|| async {
        let file = File::open(scratch.path("f"), READ_WRITE).await.unwrap();
        install_faults(Some(FaultPlan::fail(Target::Write, 2, libc::EIO)));
        let write = |byte: u8| file.write_at(vec![byte; 10], 0, Durability::Cached);
        write(1).await.unwrap();
        assert_eq!(write(2).await.unwrap_err().raw_os_error(), Some(libc::EIO));
        write(3).await.unwrap();

        install_faults(Some(FaultPlan::fail(Target::Sync, 1, libc::ENOSPC)));
        assert_eq!(file.sync_data().await.unwrap_err().raw_os_error(), Some(libc::ENOSPC));

        // The runtime continues a short write: the caller does not see it.
        let short = Rule { target: Target::Write, nth: 1, and_after: true, fault: Fault::Short(3) };
        install_faults(Some(FaultPlan::new([short])));
        write(4).await.unwrap();
        install_faults(None);
        assert_eq!(file.read_vec(10, 0).await.unwrap(), [4; 10]);
    });
}

#[test]
fn files_on_a_device_that_failed_the_probe_are_buffered() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("buffered");
    let device = std::fs::metadata(&scratch.0).unwrap().dev();
    let config = Config { recv_buffers: 16, buffered_devices: vec![device + 1, device], ..Config::default() };
    run(config, || async {
        let open = Open { direct: true, create_new: true, ..READ_WRITE };
        let file = File::open(scratch.path("f"), open).await.unwrap();
        assert!(!file.is_direct());
        // With O_DIRECT this length fails.
        file.write_at(vec![1; 10], 0, Durability::DataSync).await.unwrap();
        assert_eq!(file.read_vec(20, 0).await.unwrap(), [1; 10]);
    })
    .unwrap();
}

#[test]
fn a_connection_carries_bytes_both_ways_and_ends() {
    on_a_shard(|| async {
        let (client, server) = pair().await;
        assert!(socket2::SockRef::from(&server.clone().into_fd().await.unwrap().0).tcp_nodelay().unwrap());
        let (client, server) = {
            drop((client, server));
            pair().await
        };
        let bytes = pattern(1 << 20);
        let sent = bytes.clone();
        let sender = spawn(Class::Foreground, "sender", async move {
            let slices: Vec<Slice> = sent.chunks(700).map(|c| Slice::from(c.to_vec())).collect();
            client.send(slices).await.unwrap();
            client.shutdown_write();
            recv_exactly(&client, 4).await
        });
        assert_eq!(recv_exactly(&server, 1 << 20).await, bytes);
        assert!(server.recv().await.unwrap().is_empty(), "the end of the stream");
        server.send(b"done".to_vec()).await.unwrap();
        assert_eq!(sender.await, b"done");
    });
}

// SOCK-2
#[test]
#[should_panic(expected = "SOCK-2")]
fn two_receives_at_a_time_are_refused() {
    on_a_shard(|| async {
        let (_client, server) = pair().await;
        let receive = || server.recv_into(AlignedBuf::alloc(4096).unwrap(), 0, 1, true);
        first(receive(), receive()).await;
    });
}

#[test]
fn recv_into_fills_a_block_directly() {
    on_a_shard(|| async {
        let (client, server) = pair().await;
        let bytes = pattern(3 << 20);
        let sent = bytes.clone();
        let sender = spawn(Class::Foreground, "sender", async move { client.send(sent).await });
        let buf = AlignedBuf::alloc(4 << 20).unwrap();
        let (n, buf) = server.recv_into(buf, 100, 3 << 20, true).await;
        assert_eq!(n.unwrap(), 3 << 20);
        assert!(buf[100..100 + (3 << 20)] == bytes);
        sender.await.unwrap();
        // The sender is gone: no more bytes can arrive.
        let (n, _) = server.recv_into(buf, 0, 10, true).await;
        assert_eq!(n.unwrap(), 0);
    });
}

// SOCK-1
#[test]
fn a_dropped_recv_loses_no_byte() {
    on_a_shard(|| async {
        let (client, server) = pair().await;
        let mut got = Vec::new();
        let sender = spawn(Class::Foreground, "sender", async move {
            for i in 0..200_u8 {
                client.send(vec![i]).await.unwrap();
                sleep(Duration::from_micros(150)).await;
            }
            client
        });
        // Short timeouts: receives are dropped at each stage.
        while got.len() < 200 {
            if let Ok(received) = timeout(Duration::from_micros(100), server.recv()).await {
                got.extend_from_slice(&received.unwrap());
            }
        }
        assert_eq!(got, (0..200).collect::<Vec<u8>>());
        drop(sender.await);
    });
}

// SOCK-1
#[test]
fn a_handed_over_connection_loses_no_byte_and_its_clones_fail() {
    on_a_shard(|| async {
        for round in 0..50_u64 {
            let (client, server) = pair().await;
            // Leaves a receive in flight.
            assert!(timeout(Duration::from_micros(50), server.recv()).await.is_err());
            let sender = spawn(Class::Foreground, "sender", {
                let client = client.clone();
                async move {
                    for i in 0..20_u8 {
                        client.send(vec![i]).await.unwrap();
                        yield_now().await;
                    }
                }
            });
            sleep(Duration::from_micros(round * 7)).await;
            let clone = server.clone();
            let (fd, mut bytes) = server.into_fd().await.unwrap();
            assert_eq!(clone.recv().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
            drop(clone);
            let server = Stream::from_fd(fd).unwrap();
            assert_eq!(server.peer_addr(), client.local_addr().unwrap());
            let rest = recv_exactly(&server, 20 - bytes.len()).await;
            bytes.extend(rest);
            assert_eq!(bytes, (0..20).collect::<Vec<u8>>());
            sender.await;
        }
    });
}

// POOL-1
#[test]
fn receives_wait_while_the_pool_is_empty() {
    let config = Config { recv_buffers: 4, recv_buffer_bytes: 64, ..Config::default() };
    run(config, || async {
        let (client, server) = pair().await;
        client.send(vec![9; 64 * 5]).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(server.recv().await.unwrap());
        }
        assert!(timeout(Duration::from_millis(20), server.recv()).await.is_err(), "no buffer is left");
        drop(held.pop());
        assert_eq!(server.recv().await.unwrap().len(), 64);
        drop(held);

        // Many connections on few buffers: all of them finish.
        let mut tasks = Vec::new();
        for i in 0..40_u8 {
            let (client, server) = pair().await;
            tasks.push(spawn(Class::Foreground, "sender", async move { client.send(vec![i; 5000]).await.unwrap() }));
            tasks.push(spawn(Class::Foreground, "receiver", async move {
                assert_eq!(recv_exactly(&server, 5000).await, vec![i; 5000]);
            }));
        }
        for task in tasks {
            task.await;
        }
    })
    .unwrap();
}

// OP-1
#[test]
fn memory_of_a_dropped_operation_lives_until_its_completion() {
    let scratch = Scratch::new("orphans");
    on_a_shard(|| async {
        let used = arena_bytes_used();
        let (_client, server) = pair().await;
        let file = File::open(scratch.path("f"), Open { direct: true, ..READ_WRITE }).await.unwrap();
        file.write_at(AlignedBuf::alloc(1 << 20).unwrap(), 0, Durability::Cached).await.unwrap();
        for _ in 0..100 {
            let read = file.read_at(AlignedBuf::alloc(1 << 20).unwrap(), 0, 1 << 20, 0);
            // The first poll submits the read; then it is dropped.
            assert!(timeout(Duration::ZERO, read).await.is_err());
        }
        assert!(stats().operations > 0, "reads are in flight");
        assert!(arena_bytes_used() > used, "and own their blocks");
        let recv = server.recv_into(AlignedBuf::alloc(4096).unwrap(), 0, 4096, true);
        assert!(timeout(Duration::from_millis(1), recv).await.is_err());
        assert_eq!(server.recv().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "its receive was dropped");
        let deadline = clock::now() + Duration::from_secs(10);
        while stats().operations > 0 {
            assert!(clock::now() < deadline, "{:?}", stats());
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(arena_bytes_used(), used);
    });
    assert_eq!(arena_bytes_used(), 0);
}

#[test]
fn the_runtime_waits_for_operations_in_flight_when_it_ends() {
    let scratch = Scratch::new("end");
    for _ in 0..20 {
        on_a_shard(|| async {
            let (_client, server) = pair().await;
            let file = File::open(scratch.path("f"), READ_WRITE).await.unwrap();
            drop(spawn(Class::Foreground, "reader", async move {
                let _ = server.recv_into(AlignedBuf::alloc(4096).unwrap(), 0, 4096, true).await;
            }));
            drop(spawn(Class::Foreground, "writer", async move {
                loop {
                    file.write_at(AlignedBuf::alloc(64 << 10).unwrap(), 0, Durability::DataSync).await.unwrap();
                }
            }));
            sleep(Duration::from_millis(2)).await;
        });
        assert_eq!(arena_bytes_used(), 0);
    }
}

#[test]
fn a_dropped_listener_frees_its_port_and_descriptors_do_not_leak() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let scratch = Scratch::new("leak");
    let at = on_a_shard(|| async {
        let listener = Listener::bind(any_port(), false).unwrap();
        let addr = listener.local_addr().unwrap();
        for _ in 0..10 {
            let client = Stream::connect(addr).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let file = File::open(scratch.path("f"), READ_WRITE).await.unwrap();
            drop((client, server, file));
        }
        // A connection that is not accepted, and an accept in flight.
        let _unaccepted = Stream::connect(addr).await.unwrap();
        drop(listener);
        Listener::bind(addr, false).unwrap();
        addr
    });
    drop(Listener::bind(at, false).unwrap());
    // Other tests open descriptors too; a leak here would be in the hundreds.
    let before = open();
    on_a_shard(|| async {
        for _ in 0..300 {
            drop(pair().await);
            drop(File::open(scratch.path("f"), READ_WRITE).await.unwrap());
        }
    });
    assert!(open() < before + 200, "{} descriptors, {before} before", open());
}

// MAIL-1
#[test]
fn four_shards_pass_messages_in_order() {
    const MESSAGES: u64 = 20_000;
    let threads: Vec<_> = mesh::<(usize, u64)>(4)
        .into_iter()
        .map(|endpoint| {
            std::thread::spawn(move || {
                run(Config { shard: endpoint.own() as u16, ..Config::default() }, || async move {
                    let own = endpoint.own();
                    for i in 0..MESSAGES {
                        for to in 0..4 {
                            endpoint.send(to, (own, i));
                        }
                        if i % 100 == 0 {
                            yield_now().await;
                        }
                    }
                    let mut next = [0; 4];
                    while next != [MESSAGES; 4] {
                        let (from, (sender, i)) = endpoint.recv().await;
                        assert_eq!((from, i), (sender, next[from]), "MAIL-1");
                        next[from] += 1;
                    }
                    // Other shards may still wait for messages that are queued here.
                    while (0..4).any(|to| endpoint.waiting(to) > 0) {
                        sleep(Duration::from_millis(1)).await;
                    }
                })
                .unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

// MAIL-2
#[test]
fn a_message_always_wakes_a_parked_shard() {
    // Ping-pong with pauses of about the time that a park takes, to cover all interleavings of parking and sending.
    const ROUNDS: u64 = 5_000;
    for spin_us in [0, 20] {
        let mut endpoints = mesh::<u64>(2).into_iter();
        let (ping, pong) = (endpoints.next().unwrap(), endpoints.next().unwrap());
        let config = move || Config { spin: Duration::from_micros(spin_us), ..Config::default() };
        let echo = std::thread::spawn(move || {
            run(config(), || async move {
                loop {
                    let (from, i) = pong.recv().await;
                    pong.send(from, i);
                    if i == ROUNDS {
                        sleep(Duration::from_millis(20)).await;
                        return stats();
                    }
                }
            })
            .unwrap()
        });
        run(config(), || async move {
            for i in 0..=ROUNDS {
                let until = clock::now() + Duration::from_nanos(random_u64() % 60_000);
                while clock::now() < until {
                    std::hint::spin_loop();
                }
                ping.send(1, i);
                let answer = timeout(Duration::from_secs(10), ping.recv()).await;
                assert_eq!(answer.expect("MAIL-2: a wake-up was lost"), (1, i));
            }
        })
        .unwrap();
        let stats = echo.join().unwrap();
        assert!(stats.parks > 100, "the test is about parking: {stats:?}");
    }
}

// MAIL-3
#[test]
fn an_endpoint_is_refused_to_a_second_thread() {
    let endpoint = mesh::<u64>(1).pop().unwrap();
    on_a_shard(|| async {
        endpoint.send(0, 1);
        let refused = std::thread::scope(|scope| scope.spawn(|| endpoint.waiting(0)).join()).unwrap_err();
        let message = refused.downcast_ref::<String>().unwrap();
        assert!(message.contains("MAIL-3"), "{message}");
    });
}

#[test]
fn a_connection_moves_to_another_shard() {
    let mut endpoints = mesh::<(OwnedFd, Vec<u8>)>(2).into_iter();
    let (here, there) = (endpoints.next().unwrap(), endpoints.next().unwrap());
    let other = std::thread::spawn(move || {
        run(Config::default(), || async move {
            let (_, (fd, mut bytes)) = there.recv().await;
            let server = Stream::from_fd(fd).unwrap();
            bytes.extend(recv_exactly(&server, 10 - bytes.len()).await);
            server.send(bytes).await.unwrap();
        })
        .unwrap();
    });
    on_a_shard(|| async move {
        let (client, server) = pair().await;
        client.send(b"hello".to_vec()).await.unwrap();
        assert!(timeout(Duration::ZERO, server.recv()).await.is_err());
        here.send(1, server.into_fd().await.unwrap());
        client.send(b"world".to_vec()).await.unwrap();
        assert_eq!(recv_exactly(&client, 10).await, b"helloworld");
    });
    other.join().unwrap();
}

#[test]
fn threads_inject_messages_into_a_shard() {
    let (injector, receiver) = injector::<u64>();
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let injector = injector.clone();
            std::thread::spawn(move || {
                for i in 0..1000 {
                    injector.send(t * 1000 + i).unwrap();
                    if i % 50 == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            })
        })
        .collect();
    on_a_shard(|| async move {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 4000 {
            // A dropped receive does not lose a message.
            if let Ok(message) = timeout(Duration::from_micros(300), receiver.recv()).await {
                assert!(seen.insert(message));
            }
        }
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(injector.send(1), Err(1), "the receiver is gone");
}

#[test]
fn an_idle_shard_uses_almost_no_cpu() {
    run(Config { spin: Duration::from_micros(200), ..Config::default() }, || async {
        // A periodic task, like those of a broker.
        drop(spawn(Class::Background, "housekeeping", async {
            loop {
                sleep(Duration::from_millis(100)).await;
            }
        }));
        sleep(Duration::from_millis(200)).await;
        let (wall, cpu) = (clock::now(), cpu::thread_cpu_time());
        sleep(Duration::from_secs(2)).await;
        let used = cpu::thread_cpu_time() - cpu;
        assert!(used * 200 < wall.elapsed(), "{used:?} of CPU in {:?}", wall.elapsed());
    })
    .unwrap();
}
