//! Metrics and health over HTTP: the numbers are true, health follows the start, and no number of clients stops them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::ledger::{self, Ledger, connect};
use crate::support::node::Node;
use crate::support::rest::{ask, get_text};
use crate::support::run::{dies_with_us, run, spawn};
use crate::support::scratch::{Dir, Ports};
use crate::support::talk::{self, Talk};
use crate::support::{peers, wait_for};
use tidemill::model::ErrorCode;
use tidemill::tools::client::Client;
use tidemill::wire::Topic;
use tidemill::wire::data::fetch::{FetchPartition, FetchRequest};
use tidemill::wire::group::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};

const WITHIN: Duration = Duration::from_secs(60);
const NOW: i64 = 1_700_000_000_000;

fn get(port: u16, path: &str) -> (u16, String) {
    get_text(port, path).unwrap_or_else(|error| panic!("{error}"))
}

/// The value of the series with exactly this name and these labels.
fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    found.parse().unwrap_or_else(|error| panic!("{series} {found}: {error}"))
}

/// The sum over all series of a family.
fn sum(text: &str, family: &str) -> f64 {
    let samples =
        text.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
    samples.map(|line| line.rsplit_once(' ').expect("a sample has a value").1.parse::<f64>().expect("a number")).sum()
}

#[test]
fn metrics_count_requests_batches_and_offsets() {
    let node = Node::with_edge("metrics", &["--shards", "2"]);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 4, &[]);
    let before = get(node.edge_port(), "/metrics").1;
    // A batch to each of four partitions in each round.
    ledger.fill(&mut client, 12, 3, 100, NOW);
    let (status, after) = get(node.edge_port(), "/metrics");
    assert_eq!(status, 200);
    let grown = |family: &str| sum(&after, family) - sum(&before, family);
    assert!((grown("tidemill_journal_batches_total") - 48.0).abs() < 0.1, "{after}");
    let requests = value(&after, "tidemill_requests_total{api=\"Produce\"}");
    assert!((12.0..=48.0).contains(&requests), "{requests} requests for 48 batches");
    assert!(sum(&after, "tidemill_request_errors_total").abs() < 0.1, "{after}");
    assert!(value(&after, "tidemill_request_closes_total{api=\"Produce\"}").abs() < 0.1);
    for stage in ["receive", "queue", "append", "commit", "answer"] {
        let found = stage_count(&after, "produce", stage);
        assert!((found - requests).abs() < 0.1, "{stage}: {found} of {requests}");
    }
    let partitions = get(node.edge_port(), "/metrics/partitions").1;
    let of_topic: Vec<&str> = partitions
        .lines()
        .filter(|line| line.starts_with("tidemill_partition_high_watermark_offset{topic=\"t\""))
        .collect();
    assert_eq!(of_topic.len(), 4, "{partitions}");
    assert!((sum(&partitions, "tidemill_partition_high_watermark_offset") - 144.0).abs() < 0.1, "{partitions}");
    assert!((sum(&after, "tidemill_shards_answering") - 2.0).abs() < 0.1);
    assert!(sum(&after, "tidemill_connections") >= 1.0 && after.contains("listener=\"PLAINTEXT\""), "{after}");
}

/// The number of requests in a stage, on both shards.
fn stage_count(text: &str, api: &str, stage: &str) -> f64 {
    let of_shard = |shard| {
        let labels = format!("{{shard=\"{shard}\",stage=\"{stage}\"}}");
        value(text, &format!("tidemill_{api}_stage_duration_seconds_count{labels}"))
    };
    of_shard(0) + of_shard(1)
}

/// `/metrics` with the numbers of both shards: on a busy machine one may answer too late for a scrape.
fn of_both_shards(port: u16) -> String {
    wait_for("both shards answer", WITHIN, || {
        let text = get(port, "/metrics").1;
        (value(&text, "tidemill_shards_answering") > 1.9).then_some(text)
    })
}

/// Waits until `/metrics/kafka` has this value.
fn wait_for_kafka(port: u16, series: &str, expected: u64) {
    let line = format!("{series} {expected}");
    wait_for(&line, WITHIN, || get(port, "/metrics/kafka").1.lines().any(|found| found == line).then_some(()));
}

#[test]
fn a_waiting_fetch_is_counted_and_its_stages_are_measured() {
    let node = Node::with_edge("stages", &["--shards", "2"]);
    let port = node.edge_port();
    Ledger::create(&mut connect(node.bootstrap()), "t", 1, &[]);
    let (mut reader, mut writer) = (Talk::to(node.bootstrap()), Talk::to(node.bootstrap()));
    let fetch = |offset, max_wait_ms, min_bytes| FetchRequest {
        max_wait_ms,
        min_bytes,
        partitions: vec![FetchPartition::new(Topic::Name("t"), 0, offset)],
        ..FetchRequest::default()
    };
    let purgatory = "kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation=\"Fetch\"}";
    let is = |expected: u64| {
        wait_for("the number of waiting fetches", WITHIN, || {
            let text = of_both_shards(port);
            let series = |shard| format!("tidemill_requests_waiting{{shard=\"{shard}\",api=\"Fetch\"}}");
            let found = value(&text, &series(0)) + value(&text, &series(1));
            ((found - expected as f64).abs() < 0.1).then_some(())
        });
        wait_for_kafka(port, purgatory, expected);
    };
    is(0);
    let id = reader.send_fetch(&fetch(0, 120_000, 1), 12);
    is(1);
    writer.append("t", 0, &["a"]);
    assert_eq!(reader.receive_fetch(12, id).partitions.len(), 1);
    is(0);
    // This fetch need not wait.
    reader.fetch(&fetch(0, 120_000, 1), 12);
    wait_for("both fetches are sent", WITHIN, || {
        let text = of_both_shards(port);
        let count = |stage| stage_count(&text, "fetch", stage).round() as u64;
        let counts = ["receive", "queue", "plan", "read", "wait", "send"].map(count);
        (counts == [2, 2, 2, 2, 1, 2]).then_some(())
    });
    for name in ["requestqueue", "local", "remote", "responsesend"] {
        for request in ["Fetch", "FetchConsumer"] {
            let series = format!("kafka_network_requestmetrics_{name}timems_count{{request=\"{request}\"}}");
            wait_for_kafka(port, &series, 2);
        }
    }
    // A client that disconnects leaves nothing behind.
    reader.send_fetch(&fetch(1, 120_000, 1), 12);
    is(1);
    drop(reader);
    is(0);
}

#[test]
fn error_codes_are_counted_by_api_in_each_routing() {
    for routing in ["direct", "forward"] {
        let node =
            Node::with_edge(&format!("errors-{routing}"), &["--shards", "2", "--set", &format!("routing={routing}")]);
        let port = node.edge_port();
        let mut client = connect(node.bootstrap());
        Ledger::create(&mut client, "t", 1, &[]);
        let mut talk = Talk::to(node.bootstrap());
        // A codec that no version knows, an offset behind the end, a topic and a group that do not exist.
        let mut batch = talk::batch(&["a"]);
        let last = batch.len() - 1;
        batch[last] ^= 1;
        let produced = talk.produce_one("t", 0, &batch);
        let fetched = talk.fetch_one(Topic::Name("t"), 0, 77, 12);
        assert!(client.delete_topic("missing").is_err());
        let groups = (0..8).map(|number| format!("missing-{number}")).collect();
        let deleted: DeleteGroupsResponse = talk.call(&DeleteGroupsRequest { groups_names: groups }, 2);
        let text = of_both_shards(port);
        let mut expected = vec![
            ("Produce", produced.code, 1.0),
            ("Fetch", fetched.code(), 1.0),
            ("DeleteTopics", ErrorCode::UnknownTopicOrPartition, 1.0),
        ];
        // With direct routing each shard answers for its own groups.
        let found = |code| deleted.results.iter().filter(|result| result.error_code == code).count() as f64;
        for code in [ErrorCode::GroupIdNotFound, ErrorCode::NotCoordinator] {
            if found(code) > 0.0 {
                expected.push(("DeleteGroups", code, found(code)));
            }
        }
        for (api, code, count) in expected {
            assert!(code.is_error(), "{api}");
            let labels = format!("api=\"{api}\",error=\"{}\"", code.name());
            let counted = value(&text, &format!("tidemill_request_errors_total{{{labels}}}"));
            assert!((counted - count).abs() < 0.1, "{routing}: {counted} in place of {count} for {labels}");
        }
        let labels = "request=\"DeleteTopics\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"";
        wait_for_kafka(port, &format!("kafka_network_requestmetrics_errors_total{{{labels}}}"), 1);
    }
}

/// The names that dashboards for Strimzi and kafka_exporter use. Those of intervals appear with the second scrape.
const NAMES_OF_KAFKA: &str = "
    kafka_server_brokertopicmetrics_messagesin_total kafka_server_brokertopicmetrics_bytesin_total
    kafka_server_brokertopicmetrics_bytesout_total kafka_server_brokertopicmetrics_totalproducerequests_total
    kafka_server_brokertopicmetrics_totalfetchrequests_total kafka_server_brokertopicmetrics_failedproducerequests_total
    kafka_server_brokertopicmetrics_failedfetchrequests_total
    kafka_server_replicamanager_leadercount kafka_server_replicamanager_partitioncount
    kafka_server_replicamanager_underreplicatedpartitions kafka_server_replicamanager_underminisrpartitioncount
    kafka_controller_kafkacontroller_activecontrollercount kafka_controller_kafkacontroller_offlinepartitionscount
    kafka_controller_controllerstats_uncleanleaderelections_total
    kafka_cluster_partition_atminisr kafka_cluster_partition_underminisr kafka_cluster_partition_replicascount
    kafka_log_log_size kafka_log_logmanager_offlinelogdirectorycount
    kafka_network_socketserver_networkprocessoravgidle_percent
    kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent
    kafka_server_kafkaserver_linux_disk_read_bytes kafka_server_kafkaserver_linux_disk_write_bytes
    kafka_server_socket_server_metrics_connection_count process_open_fds
    kafka_server_raftmetrics_current_leader kafka_server_raftmetrics_current_epoch
    kafka_server_raftmetrics_current_state kafka_server_raftmetrics_high_watermark
    kafka_server_raftmetrics_log_end_offset kafka_server_raftmetrics_commit_latency_avg
    kafka_server_raftmetrics_append_records_rate kafka_server_raftmetrics_fetch_records_rate
    kafka_consumergroup_lag kafka_consumergroup_lag_sum kafka_consumergroup_current_offset
    kafka_topic_partition_current_offset kafka_topic_partition_oldest_offset kafka_topic_partition_in_sync_replica
    kafka_topic_partition_replicas kafka_topic_partition_under_replicated_partition
    kafka_topic_partition_leader_is_preferred kafka_topic_partitions kafka_broker_info
    kafka_network_requestmetrics_totaltimems kafka_network_requestmetrics_requestqueuetimems
    kafka_network_requestmetrics_localtimems kafka_network_requestmetrics_remotetimems
    kafka_network_requestmetrics_responsequeuetimems kafka_network_requestmetrics_responsesendtimems
    kafka_server_delayedoperationpurgatory_purgatorysize kafka_log_logflushstats_logflushrateandtimems";

#[test]
fn each_name_that_dashboards_use_has_a_value() {
    let node = Node::with_edge("names", &["--shards", "2"]);
    let port = node.edge_port();
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 2, &[]);
    ledger.fill(&mut client, 2, 2, 100, NOW);
    ledger.verify(&mut client);
    commit(&mut client, "readers", "t", 0, 2);
    // The first scrape begins the interval, and a commit of the metadata is in it.
    get(port, "/metrics/kafka");
    ledger::create(&mut client, "u", 1, &[]);
    let is_missing = |text: &str, name: &str| !text.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
    wait_for("every name", WITHIN, || {
        let text = get(port, "/metrics/kafka").1;
        NAMES_OF_KAFKA.split_whitespace().all(|name| !is_missing(&text, name)).then_some(())
    });
    wait_for_kafka(port, "kafka_consumergroup_lag_sum{consumergroup=\"readers\",topic=\"t\"}", 2);
}

#[test]
fn health_follows_the_start_after_a_kill() {
    let mut node = Node::with_edge("health", &["--shards", "2"]);
    let port = node.edge_port();
    for path in ["/livez", "/readyz", "/startupz", "/healthz"] {
        assert_eq!(get(port, path).0, 200, "{path}");
    }
    assert_eq!(get(port, "/nothing").0, 404);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 4, &[]);
    ledger.fill(&mut client, 8, 3, 100, NOW);
    node.kill();
    // A start waits while another process has a file of the journal open for writing: its writes might be in flight.
    let journal = node.data().join("layouts/0/shard-1/journal");
    let name = journal.join("00000000.journal");
    let writer = File::options().write(true).open(name).expect("the test may write it");
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| node.restart());
        let (_, text) = wait_for("a start that waits", WITHIN, || {
            get_text(port, "/startupz").ok().filter(|(_, text)| text.contains("shard-1 failed: opens its journal"))
        });
        assert!(text.ends_with("startupz check failed\n"), "{text}");
        assert_eq!(get(port, "/startupz").0, 503);
        assert_eq!(get(port, "/readyz").0, 503);
        assert_eq!(get(port, "/healthz").0, 503);
        assert_eq!(get(port, "/livez").0, 200, "a restart would only repeat the recovery");
        let metrics = get(port, "/metrics").1;
        assert!(value(&metrics, "tidemill_shards_answering") < 2.0);
        drop(writer);
        starting.join().expect("it started");
    });
    assert_eq!(get(port, "/startupz"), (200, "[+]shard-0 ok\n[+]shard-1 ok\nstartupz check passed\n".into()));
    assert_eq!(get(port, "/readyz"), (200, "readyz check passed\n".into()));
    let (status, text) = get(port, "/healthz?verbose");
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("[+]storage ok\n") && text.contains("[+]disk-space ok\n"), "{text}");
    assert!(node.stop().success());
}

#[test]
fn a_default_address_in_use_is_a_warning_and_a_given_one_an_error() {
    // If this fails, another process listens there: the address is in use in any case.
    let _taken = TcpListener::bind("127.0.0.1:9644");
    let (dir, ports) = (Dir::new("edge-taken"), Ports::reserve());
    let listen = format!("127.0.0.1:{}", ports.first());
    let start = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(["serve", "--json", "--shards", "1", "--listen", &listen]).args(more);
        command.current_dir(dir.path()).env_remove("TIDEMILL_EDGE_LISTEN");
        let mut command = dies_with_us(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        spawn(command).expect("the binary runs")
    };
    let mut child = start(&["--set", "edge.listen=127.0.0.1:9644"]);
    let mut error = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut error).expect("text");
    assert!(!child.wait().expect("a child").success());
    for part in ["cannot serve metrics and health on 127.0.0.1:9644", "--set edge.listen=HOST:PORT, or off"] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    let mut child = start(&[]);
    let lines = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut printed = String::new();
    for line in std::io::BufRead::lines(lines).map_while(Result::ok) {
        printed.push_str(&line);
        if line.contains("\"ready\"") {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(printed.contains("no metrics and health: 127.0.0.1:9644 is in use"), "{printed}");
    assert!(printed.contains("\"ready\""), "{printed}");
}

#[test]
fn clients_that_do_not_read_and_a_thousand_scrapes_are_bounded() {
    let node = Node::with_edge("scrapes", &["--shards", "1"]);
    let port = node.edge_port();
    // More than are served at a time, each with half a request.
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it connects");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n").expect("it fits the socket's buffer");
            stream
        })
        .collect();
    // Their time for a header ends, and the next ones follow.
    assert_eq!(get(port, "/livez").0, 200);
    drop(silent);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (status, text) = get(port, "/metrics");
                    assert_eq!(status, 200);
                    assert!((value(&text, "tidemill_shards_answering") - 1.0).abs() < 0.1);
                }
            });
        }
    });
    assert_eq!(get(port, "/healthz").0, 200);
}

#[test]
fn lag_and_traffic_of_a_group_are_true() {
    let node = Node::with_edge("lag", &["--shards", "2"]);
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 2, &[]);
    // Ten records for each partition.
    ledger.fill(&mut client, 5, 2, 100, NOW);
    let verified = ledger.verify(&mut client);
    assert_eq!(verified.batches, 10);
    for (topic, partition, offset) in [("t", 0, 4), ("t", 1, 10)] {
        commit(&mut client, "readers", topic, partition, offset);
    }
    let text = get(node.edge_port(), "/metrics").1;
    let near = |series: &str, expected: f64| {
        let found = value(&text, series);
        assert!((found - expected).abs() < 0.1, "{series} is {found}, not {expected}");
    };
    near("tidemill_group_lag_records{group=\"readers\",topic=\"t\"}", 6.0);
    near("tidemill_topic_received_batches_total{topic=\"t\"}", 10.0);
    near("tidemill_topic_received_records_total{topic=\"t\"}", 20.0);
    near("tidemill_topic_sent_records_total{topic=\"t\"}", 20.0);
    near("tidemill_topic_received_bytes_total{topic=\"t\"}", verified.bytes as f64);
    near("tidemill_topic_sent_bytes_total{topic=\"t\"}", verified.bytes as f64);
    near("tidemill_groups", 1.0);
    let kafka = get(node.edge_port(), "/metrics/kafka").1;
    for (partition, lag) in [(0, 6.0), (1, 0.0)] {
        let labels = format!("{{consumergroup=\"readers\",topic=\"t\",partition=\"{partition}\"}}");
        assert!((value(&kafka, &format!("kafka_consumergroup_lag{labels}")) - lag).abs() < 0.1, "{kafka}");
    }
    let messages = value(&kafka, "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"}");
    assert!((messages - 20.0).abs() < 0.1, "{messages}");
    // The lag in time grows with the clock as long as the group reads nothing.
    let series = "tidemill_group_lag_seconds{group=\"readers\",topic=\"t\"}";
    let lag = || value(&get(node.edge_port(), "/metrics").1, series);
    let first = lag();
    wait_for("a longer lag", WITHIN, || (lag() > first).then_some(()));
    commit(&mut client, "readers", "t", 0, 10);
    assert!(lag().abs() < 1e-9, "the group has read everything");
    // The traffic of a deleted topic stays in the totals: counters never go back.
    let total = |text: &str| sum(text, "tidemill_received_records_total");
    let before = total(&get(node.edge_port(), "/metrics").1);
    assert!(before >= 20.0);
    client.delete_topic("t").unwrap_or_else(|error| panic!("{error}"));
    wait_for("a response without the topic", WITHIN, || {
        let text = get(node.edge_port(), "/metrics").1;
        assert!(total(&text) >= before, "{text}");
        (!text.contains("topic=\"t\"")).then_some(())
    });
}

fn commit(client: &mut Client, group: &str, topic: &str, partition: i32, offset: i64) {
    let offsets = [((topic.to_owned(), partition), offset)].into();
    client.commit(group, &offsets).unwrap_or_else(|error| panic!("{error}"));
}

/// The lines of `promtool check metrics` that are about names. Kafka's names do not follow Prometheus' rules.
fn lint(promtool: &Path, text: &str) -> Vec<String> {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]);
    let ended = run(command, Some(text.as_bytes().to_vec()), WITHIN, |_| false).expect("promtool runs");
    let code = ended.status.and_then(|status| status.code());
    // 3: the text is valid, and a name or a help breaks a rule.
    assert!(matches!(code, Some(0 | 3)), "{}", ended.tail());
    ended.stdout.lines().chain(ended.stderr.lines()).map(str::to_owned).collect()
}

#[test]
fn prometheus_reads_every_endpoint() {
    let Some(programs) = peers::prometheus() else { return };
    let node = Node::with_edge("prometheus", &["--shards", "2"]);
    let port = node.edge_port();
    let mut client = connect(node.bootstrap());
    let mut ledger = Ledger::create(&mut client, "t", 4, &[]);
    ledger.fill(&mut client, 5, 2, 100, NOW);
    ledger.verify(&mut client);
    commit(&mut client, "readers", "t", 0, 4);
    let promtool = programs.join("promtool");
    for path in ["/metrics", "/metrics/partitions"] {
        assert_eq!(lint(&promtool, &get(port, path).1), Vec::<String>::new(), "{path}");
    }
    let foreign: Vec<_> = lint(&promtool, &get(port, "/metrics/kafka").1)
        .into_iter()
        .filter(|line| !line.starts_with("kafka_"))
        .collect();
    assert_eq!(foreign, Vec::<String>::new(), "every complaint is about a name of Kafka's");

    let (dir, ports) = (Dir::new("prometheus-data"), Ports::reserve());
    let jobs = ["metrics", "metrics/kafka", "metrics/partitions"].map(|path| {
        format!("- job_name: {path}\n  metrics_path: /{path}\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n")
    });
    let config = format!("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n{}", jobs.concat());
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, config).expect("the scratch directory can be written");
    let mut command = Command::new(programs.join("prometheus"));
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{}", ports.first()));
    let mut command = dies_with_us(&command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut prometheus = spawn(command).expect("it runs");
    let query = |query: &str| {
        let path = format!("/api/v1/query?query={query}");
        let (status, answer) = ask(ports.first(), "GET", &path, None).ok()?;
        (status == 200).then(|| answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()).flatten()
    };
    for (series, expected) in [
        ("sum(up)", 3.0),
        ("sum(tidemill_topic_received_records_total%7Btopic=%22t%22%7D)", 40.0),
        ("sum(kafka_server_brokertopicmetrics_messagesin_total%7Btopic=%22t%22%7D)", 40.0),
        ("sum(tidemill_partition_high_watermark_offset%7Btopic=%22t%22%7D)", 40.0),
        ("kafka_consumergroup_lag%7Bconsumergroup=%22readers%22%7D", 6.0),
    ] {
        wait_for(series, WITHIN, || query(series).filter(|found| (found - expected).abs() < 0.1));
    }
    let _ = prometheus.kill();
    let _ = prometheus.wait();
}
